#!/bin/sh
# Ask a classifier with nothing but buf (https://buf.build): sh classify.sh localhost:50051
#
# The contract comes from the server itself, by reflection; --schema protos reads it from this repository instead.
# TLS: leave --http2-prior-knowledge out, write https://, add --cacert FILE; a token: --header "authorization: Bearer ..."
set -eu
exec "${BUF:-buf}" curl --protocol grpc --http2-prior-knowledge --reflect \
  --header "x-request-id: from-buf" \
  --data @- "http://$1/adsml.classifier.v1.ClassifierService/Classify" <<'JSON'
{
  "subject": {"inline": {
    "entityType": "ENTITY_TYPE_ADSET",
    "entityId": "mine",
    "rows": [
      {"date": {"year": 2026, "month": 3, "day": 30}, "spend": 50, "impressions": "1000", "clicks": "20", "leads": 10},
      {"date": {"year": 2026, "month": 3, "day": 31}, "spend": 50, "impressions": "1000", "clicks": "20", "leads": 10}
    ],
    "accountRows": [
      {"date": {"year": 2026, "month": 3, "day": 30}, "spend": 1500, "impressions": "1000", "clicks": "20", "leads": 100},
      {"date": {"year": 2026, "month": 3, "day": 31}, "spend": 1500, "impressions": "1000", "clicks": "20", "leads": 100}
    ]
  }},
  "options": {"maxContributions": 0}
}
JSON
