// The shared library is the room's archive; CMake wants a source.
