// Ask a classifier from a browser, by gRPC-Web through the gateway, with the contract's types.
//
// contracts.binpb comes from adsml-contracts.zip (`make dist`, or `python protos/bundle.py .`). Then:
// npm install && npm run generate && npm run build, and open index.html?gateway=https://adsml.example.com from an origin
// that the gateway allows (`adsml gateway-config --origin`).

import { create } from "@bufbuild/protobuf";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { ClassificationOptionsSchema, ClassifierService } from "./gen/adsml/classifier/v1/classifier_service_pb";
import { EntityType } from "./gen/adsml/common/v1/entity_pb";
import { Tier } from "./gen/adsml/common/v1/tier_pb";

const page = new URL(location.href);
const transport = createGrpcWebTransport({
  baseUrl: page.searchParams.get("gateway") ?? "http://localhost:8080",
  defaultTimeoutMs: 20_000,
  // A token: interceptors: [(next) => (request) => { request.header.set("authorization", `Bearer ${token}`); ... }]
});
const client = createClient(ClassifierService, transport);

const days = (spend: number, leads: number) =>
  Array.from({ length: 28 }, (_, index) => ({
    date: { year: 2026, month: 3, day: 28 - index },
    spend,
    impressions: 1000n,
    clicks: 20n,
    leads,
  }));

async function classify(entityType: EntityType): Promise<string> {
  const inline = { entityType, entityId: "mine", rows: days(50, 10), accountRows: days(1500, 100) };
  try {
    const answer = await client.classify({
      subject: { source: { case: "inline", value: inline } },
      options: create(ClassificationOptionsSchema, { maxReasons: 1 }),
    });
    const { tier, metrics, answeredBy, reasons } = answer.classification!;
    const by = answeredBy?.model?.name || answeredBy?.method;
    return `mine: ${Tier[tier]}, CPL ${metrics?.cpl?.toFixed(2)}, by ${by}: ${reasons[0]?.text}`;
  } catch (caught) {
    const error = ConnectError.from(caught);
    return `not classified: ${Code[error.code]} ${error.rawMessage}`;
  }
}

for (const [id, level] of [["answer", EntityType.ADSET], ["refusal", EntityType.UNSPECIFIED]] as const) {
  document.getElementById(id)!.textContent = await classify(level);
}
