"""Compile the modules below SOURCE into __pycache__ directories below TARGET.

The byte code carries the hash of its source and is never checked against it, so it depends on
nothing but the source: the same modules give the same files.
"""

import os
import py_compile
import sys
import time

# Beyond this many warnings the rest is counted only.
MAX_WARNINGS = 20


def modules(source):
    """Yield the path of each module below source, in an order of names."""
    for folder, folders, files in os.walk(source):
        folders[:] = sorted(f for f in folders if f != "__pycache__" and not f.startswith("."))
        for name in sorted(files):
            path = os.path.join(folder, name)
            if name.endswith(".py") and os.path.isfile(path) and not os.path.islink(path):
                yield path


def target_of(path, source, target):
    """The place of path's byte code below target."""
    folder, name = os.path.split(os.path.relpath(path, source))
    compiled = f"{name[:-3]}.{sys.implementation.cache_tag}.pyc"
    return os.path.join(target, folder, "__pycache__", compiled)


def main(source, target):
    """Compile everything below source; broken modules are reported, never fatal."""
    started = time.monotonic()
    compiled, broken = 0, 0
    for path in modules(source):
        try:
            py_compile.compile(
                path,
                cfile=target_of(path, source, target),
                dfile=path,
                doraise=True,
                invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
            )
            compiled += 1
        except (py_compile.PyCompileError, OSError, ValueError, RecursionError) as error:
            broken += 1
            if broken <= MAX_WARNINGS:
                reason = str(getattr(error, "exc_value", error)).splitlines()[0]
                print(f"       warning: {os.path.relpath(path, source)}: {reason}")
    seconds = time.monotonic() - started
    skipped = f", {broken} with errors left as they are" if broken else ""
    count = f"{compiled} module{'' if compiled == 1 else 's'}"
    print(f"       {count} of {source} compiled in {seconds:.2f} s{skipped}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
