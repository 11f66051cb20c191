// Ask a classifier from TypeScript, in a browser or in Node: gRPC-Web through the gateway, with generated types.

import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { ClassifierService } from "./gen/adsml/classifier/v1/classifier_service_pb.ts";
import { EntityType } from "./gen/adsml/common/v1/entity_pb.ts";
import { Tier } from "./gen/adsml/common/v1/tier_pb.ts";
import { BadRequestSchema } from "./gen/google/rpc/error_details_pb.ts";

export interface Figures {
  spend: number;
  leads: number;
}

/** One sentence about an entity from its last 28 days, newest first, beside those of its account. */
export async function classify(baseUrl: string, mine: Figures[], account: Figures[], token?: string): Promise<string> {
  const client = createClient(ClassifierService, createGrpcWebTransport({ baseUrl }));
  const rows = (figures: Figures[]) =>
    figures.map(({ spend, leads }, index) => ({
      date: { year: 2026, month: 3, day: 28 - index },
      spend,
      impressions: 1000n,
      clicks: 20n,
      leads,
    }));
  const inline = {
    entityType: EntityType.ADSET,
    entityId: "mine",
    rows: rows(mine),
    accountRows: rows(account),
  };
  const headers = token === undefined ? undefined : { authorization: `Bearer ${token}` };
  try {
    const answer = await client.classify(
      { subject: { source: { case: "inline", value: inline } } },
      { timeoutMs: 20_000, headers },
    );
    const { tier, metrics } = answer.classification!;
    return `mine: ${Tier[tier]}, CPL ${metrics?.cpl?.toFixed(2) ?? "unknown"}`;
  } catch (error) {
    const failed = ConnectError.from(error);
    const violations = failed
      .findDetails(BadRequestSchema)
      .flatMap((detail) => detail.fieldViolations)
      .map((violation) => `${violation.field}: ${violation.description}`);
    return [`not classified: ${Code[failed.code]} ${failed.rawMessage}`, ...violations].join("\n");
  }
}
