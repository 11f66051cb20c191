// Ask a classifier from Go: `go mod tidy`, then `go run . localhost:50051`.
//
// The contracts, with all that they import, come as one descriptor set: contracts.binpb of adsml-contracts.zip, which
// `make dist` or `python protos/bundle.py .` writes; $ADSML_CONTRACTS says where it lies. Nothing is generated: who wants
// types runs protoc-gen-go on the .proto files of the same archive and calls NewClassifierServiceClient instead.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/local"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

// What the Python client has built in: round robin over all addresses, and retries.
const serviceConfig = `{
  "loadBalancingConfig": [{"round_robin": {}}],
  "methodConfig": [{"name": [{}], "retryPolicy": {
    "maxAttempts": 4, "initialBackoff": "0.1s", "maxBackoff": "2s", "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"]}}]
}`

// codec writes messages without generated types.
type codec struct{}

func (codec) Name() string                             { return "proto" }
func (codec) Marshal(message any) ([]byte, error)      { return proto.Marshal(message.(proto.Message)) }
func (codec) Unmarshal(data []byte, message any) error { return proto.Unmarshal(data, message.(proto.Message)) }

func main() {
	if err := classify(os.Args[1]); err != nil {
		problem := status.Convert(err)
		fmt.Fprintf(os.Stderr, "not classified: %s %s\n", problem.Code(), problem.Message())
		os.Exit(1)
	}
}

func classify(target string) error {
	method, err := methodOf("adsml.classifier.v1.ClassifierService", "Classify")
	if err != nil {
		return err
	}
	request, response := dynamicpb.NewMessage(method.Input()), dynamicpb.NewMessage(method.Output())
	question := fmt.Sprintf(`{"subject": {"inline": {
		"entityType": "ENTITY_TYPE_ADSET", "entityId": "mine", "rows": %s, "accountRows": %s}}}`,
		days(50, 10), days(1500, 100))
	if err := protojson.Unmarshal([]byte(question), request); err != nil {
		return err
	}

	// To another machine: grpc.WithTransportCredentials(credentials.NewTLS(...)).
	connection, err := grpc.Dial(target,
		grpc.WithTransportCredentials(local.NewCredentials()), grpc.WithDefaultServiceConfig(serviceConfig))
	if err != nil {
		return err
	}
	defer connection.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	ctx = metadata.AppendToOutgoingContext(ctx, "x-request-id", "from-go") // and: "authorization", "Bearer "+token
	path := fmt.Sprintf("/%s/%s", method.Parent().FullName(), method.Name())
	if err := connection.Invoke(ctx, path, request, response, grpc.ForceCodec(codec{})); err != nil {
		return err
	}

	classification := field(response, "classification").Message()
	tier := classification.Descriptor().Fields().ByName("tier").Enum().Values()
	cpl := field(field(classification, "metrics").Message(), "cpl").Float()
	fmt.Printf("mine: %s, CPL %.2f\n", tier.ByNumber(field(classification, "tier").Enum()).Name(), cpl)
	by := field(classification, "answered_by").Message()
	name := field(field(by, "model").Message(), "name").String()
	if name == "" {
		name = field(by, "method").String()
	}
	fmt.Printf("answered by %s\n", name)
	return nil
}

func methodOf(service, name protoreflect.FullName) (protoreflect.MethodDescriptor, error) {
	path := os.Getenv("ADSML_CONTRACTS")
	if path == "" {
		path = "contracts.binpb"
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	set := new(descriptorpb.FileDescriptorSet)
	if err := proto.Unmarshal(data, set); err != nil {
		return nil, err
	}
	files, err := protodesc.NewFiles(set)
	if err != nil {
		return nil, err
	}
	descriptor, err := files.FindDescriptorByName(service)
	if err != nil {
		return nil, err
	}
	return descriptor.(protoreflect.ServiceDescriptor).Methods().ByName(protoreflect.Name(name)), nil
}

func field(message protoreflect.Message, name protoreflect.Name) protoreflect.Value {
	return message.Get(message.Descriptor().Fields().ByName(name))
}

func days(spend, leads float64) string {
	rows := "["
	for day := 28; day > 0; day-- {
		rows += fmt.Sprintf(`{"date": {"year": 2026, "month": 3, "day": %d}, "spend": %g, "impressions": 1000,
			"clicks": 20, "leads": %g},`, day, spend, leads)
	}
	return rows[:len(rows)-1] + "]"
}
