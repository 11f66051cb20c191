// Ask a classifier from Node: `npm install`, then `node classify.mjs localhost:50051`.
//
// The contracts are read from this repository's folder `protos`; google/type and google/rpc come with
// google-proto-files. `service_config` gives what the Python client has built in: round robin and retries.

import { dirname, join } from "node:path";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import grpc from "@grpc/grpc-js";
import loader from "@grpc/proto-loader";

const here = dirname(fileURLToPath(import.meta.url));
const protos = process.env.ADSML_PROTOS ?? join(here, "..", "..", "protos");
const google = dirname(createRequire(import.meta.url).resolve("google-proto-files/package.json"));
const definition = loader.loadSync("adsml/classifier/v1/classifier_service.proto", {
  includeDirs: [protos, google, join(google, "..")],
  longs: String, // config_id is an int64
  enums: String,
  oneofs: true,
});
const { ClassifierService } = grpc.loadPackageDefinition(definition).adsml.classifier.v1;

const serviceConfig = {
  loadBalancingConfig: [{ round_robin: {} }],
  methodConfig: [
    {
      name: [{}],
      retryPolicy: {
        maxAttempts: 4,
        initialBackoff: "0.1s",
        maxBackoff: "2s",
        backoffMultiplier: 2,
        retryableStatusCodes: ["UNAVAILABLE"],
      },
    },
  ],
};
const client = new ClassifierService(
  process.argv[2],
  grpc.credentials.createInsecure(), // to another machine: grpc.credentials.createSsl(ca, key, cert)
  { "grpc.service_config": JSON.stringify(serviceConfig) },
);

const days = (spend, leads) =>
  Array.from({ length: 28 }, (_, index) => ({
    date: { year: 2026, month: 3, day: 28 - index },
    spend,
    impressions: 1000,
    clicks: 20,
    leads,
  }));

const request = {
  subjects: [
    {
      inline: {
        entityType: "ENTITY_TYPE_ADSET",
        entityId: "mine",
        rows: days(50, 10),
        accountRows: days(1500, 100),
      },
    },
  ],
};
const metadata = new grpc.Metadata();
metadata.set("x-request-id", "from-node"); // and: metadata.set("authorization", `Bearer ${token}`)

client.ClassifyEntities(request, metadata, { deadline: Date.now() + 20_000 }, (error, answer) => {
  client.close();
  if (error) {
    console.error(`not answered: ${grpc.status[error.code]} ${error.details}`);
    process.exitCode = 1;
    return;
  }
  for (const { entity, classification, error: failed } of answer.results) {
    if (failed) {
      console.error(`not classified: ${failed.message}`);
      process.exitCode = 1;
    } else {
      const by = classification.answeredBy;
      console.log(`${entity.entityId}: ${classification.tier}, CPL ${classification.metrics.cpl.toFixed(2)}`);
      console.log(`answered by ${by.model?.name ?? by.method}`);
    }
  }
});
