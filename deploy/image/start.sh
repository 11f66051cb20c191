#!/bin/sh
# What an image runs. Kernels were compiled when it was built, which takes a minute; numba wants them where it can
# write, so a container that has nothing there yet starts with a copy. On another kind of processor than the one that
# built the image they don't fit, and are compiled and kept there as without a copy.
set -eu
if [ -d /app/numba ] && [ ! -e "$NUMBA_CACHE_DIR" ]; then
    # Whole or not at all; without, it is slower to start and no worse.
    part="$NUMBA_CACHE_DIR.$$"
    { cp -r /app/numba "$part" && mv "$part" "$NUMBA_CACHE_DIR"; } || rm -rf "$part"
fi
if [ $# -eq 0 ]; then
    case "$ADSML_IMAGE" in
        launcher) set -- launcher ;;
        ingest | report) set -- --help ;;
        *) set -- serve "$ADSML_IMAGE" ;;
    esac
fi
exec adsml "$@"
