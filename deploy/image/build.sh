#!/bin/sh
# Fills /app for one image: exactly what is locked for it, without what no process of it reads.
set -eu
case "$1" in
    # It computes nothing; deploy/image/check.py imports what it runs.
    launcher) set -- --package adsml-common --extra kubernetes --no-install-package numpy --no-install-package pandas ;;
    ingest) set -- --package adsml-ingest --extra image ;;
    report)
        set -- --package adsml-report --package adsml-ingest --package adsml-classifier --package adsml-forecasting \
            --package adsml-anomaly --package adsml-impact --extra report --extra image
        ;;
    *) set -- --package "adsml-$1" --extra image ;;
esac
uv sync --frozen --no-dev --no-editable "$@"
cd /app/lib/python3*/site-packages
# Tests of libraries, headers and what Cython was made of.
find . -type d \( -name tests -o -name include \) -prune -exec rm -rf {} +
find . \( -name '*.pyx' -o -name '*.pxd' -o -name '*.pyi' -o -name '*.a' -o -name '*.c' -o -name '*.h' \) -delete
# AWS has 400 services, and models lie in one.
if [ -d botocore/data ]; then
    find botocore/data -mindepth 1 -maxdepth 1 -type d \
        ! -name s3 ! -name sts ! -name sso ! -name sso-oidc ! -name signin -exec rm -rf {} +
fi
# Arrow's own servers and way to S3: what we read is a file, or comes by fsspec.
rm -f pyarrow/*flight* pyarrow/*_s3*
cp /src/deploy/image/start.sh /app/bin/start
cp /src/deploy/image/check.py /app/bin/check.py
chmod 755 /app/bin/start
# Kernels compiled: see start.sh.
NUMBA_CACHE_DIR=/app/numba /app/bin/python /app/bin/check.py --compile
