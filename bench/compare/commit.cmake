# Writes OUT, a header with the commit of SOURCE_DIR; leaves it untouched when nothing changed.
execute_process(
  COMMAND git --no-optional-locks -C ${SOURCE_DIR} describe --always --dirty=+changes --abbrev=12
          --exclude=*
  OUTPUT_VARIABLE commit
  OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET
  RESULT_VARIABLE failed)
if(failed OR NOT commit)
  set(commit unknown)
endif()
file(CONFIGURE OUTPUT ${OUT} CONTENT "#pragma once
#define KVPOOL_COMMIT \"${commit}\"
")
