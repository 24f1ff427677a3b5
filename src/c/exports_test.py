"""usage: exports_test.py NM LIBRARY HEADER: the library exports what the header declares, and nothing else."""
import re
import subprocess
import sys

nm, library, header = sys.argv[1:]
lines = subprocess.run([nm, "--dynamic", "--defined-only", library], check=True, capture_output=True,
                       text=True).stdout.splitlines()
exported = {line.split()[-1] for line in lines}
with open(header, encoding="utf-8") as text:
    declared = set(re.findall(r"\b(kvpool_\w+)\(", re.sub(r"/\*.*?\*/", "", text.read(), flags=re.DOTALL)))
for name in sorted(declared - exported):
    print(f"{name} is declared and not exported")
for name in sorted(exported - declared):
    print(f"{name} is exported and not declared")
if not declared:
    print("the header declares nothing")
sys.exit(exported != declared or not declared)
