// Ask a classifier from Node: `npm install`, then `node classify.mjs localhost:50051`.
//
// The contracts, with all that they import, come as one descriptor set: contracts.binpb of adsml-contracts.zip, which
// `make dist` or `python protos/bundle.py .` writes; $ADSML_CONTRACTS says where it lies. `service_config` gives what
// the Python client has built in: round robin and retries.

import { readFileSync } from "node:fs";
import grpc from "@grpc/grpc-js";
import loader from "@grpc/proto-loader";

const contracts = readFileSync(process.env.ADSML_CONTRACTS ?? "contracts.binpb");
const definition = loader.loadFileDescriptorSetFromBuffer(contracts, {
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
  subject: {
    inline: {
      entity_type: "ENTITY_TYPE_ADSET",
      entity_id: "mine",
      rows: days(50, 10),
      account_rows: days(1500, 100),
    },
  },
};
const metadata = new grpc.Metadata();
metadata.set("x-request-id", "from-node"); // and: metadata.set("authorization", `Bearer ${token}`)

client.Classify(request, metadata, { deadline: Date.now() + 20_000 }, (error, answer) => {
  client.close();
  if (error) {
    console.error(`not classified: ${grpc.status[error.code]} ${error.details}`);
    process.exitCode = 1;
    return;
  }
  const { tier, metrics, answered_by: by } = answer.classification;
  console.log(`mine: ${tier}, CPL ${metrics.cpl.toFixed(2)}`);
  console.log(`answered by ${by.model?.name || by.method}`);
});
