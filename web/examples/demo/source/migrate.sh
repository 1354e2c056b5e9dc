#!/bin/sh
set -e
# Runs once before a release.
exec python3 -m blog.migrate "$@"
