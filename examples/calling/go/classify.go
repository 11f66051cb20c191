// Ask a classifier from Go.
//
// Generate the contracts' code once, from contracts.binpb of adsml-contracts.zip (`make dist`):
//
//	go install google.golang.org/protobuf/cmd/protoc-gen-go@latest google.golang.org/grpc/cmd/protoc-gen-go-grpc@latest
//	buf generate contracts.binpb --path adsml --path buf
//	go mod tidy && go run . localhost:50051
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/genproto/googleapis/type/date"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	classifier "example.com/adsml/gen/adsml/classifier/v1"
	common "example.com/adsml/gen/adsml/common/v1"
)

// What the Python client has built in: round robin over all addresses, and retries.
const serviceConfig = `{
  "loadBalancingConfig": [{"round_robin": {}}],
  "methodConfig": [{"name": [{}], "retryPolicy": {
    "maxAttempts": 4, "initialBackoff": "0.1s", "maxBackoff": "2s", "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"]}}]
}`

func days(spend, leads float64) []*common.DailyMetrics {
	rows := make([]*common.DailyMetrics, 28)
	for back := range rows {
		rows[back] = &common.DailyMetrics{
			Date:        &date.Date{Year: 2026, Month: 3, Day: int32(28 - back)},
			Spend:       proto.Float64(spend),
			Impressions: proto.Int64(1000),
			Clicks:      proto.Int64(20),
			Leads:       proto.Float64(leads),
		}
	}
	return rows
}

func run(target string) error {
	// To another machine: credentials.NewTLS instead of WithInsecure.
	connection, err := grpc.Dial(target, grpc.WithInsecure(), grpc.WithDefaultServiceConfig(serviceConfig))
	if err != nil {
		return err
	}
	defer connection.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	ctx = metadata.AppendToOutgoingContext(ctx, "x-request-id", "from-go") // and "authorization", "Bearer "+token

	mine := &common.InlineSeries{
		EntityType:  common.EntityType_ENTITY_TYPE_ADSET,
		EntityId:    "mine",
		Rows:        days(50, 10),
		AccountRows: days(1500, 100),
	}
	request := &classifier.ClassifyRequest{Subject: &common.Subject{Source: &common.Subject_Inline{Inline: mine}}}
	answer, err := classifier.NewClassifierServiceClient(connection).Classify(ctx, request)
	if err != nil {
		for _, detail := range status.Convert(err).Details() {
			if bad, ok := detail.(*errdetails.BadRequest); ok {
				for _, violation := range bad.FieldViolations {
					fmt.Fprintf(os.Stderr, "%s: %s\n", violation.Field, violation.Description)
				}
			}
		}
		return fmt.Errorf("not classified: %w", err)
	}
	said := answer.Classification
	fmt.Printf("mine: %s, CPL %.2f\n", said.Tier, said.Metrics.GetCpl())
	by := said.AnsweredBy
	if by.Model.GetName() != "" {
		fmt.Printf("answered by %s\n", by.Model.Name)
	} else {
		fmt.Printf("answered by %s\n", by.Method)
	}
	return nil
}

func main() {
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
