package client

import (
	"encoding/json"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

// services lists the files whose services the client calls.
func services() []protoreflect.FileDescriptor {
	return []protoreflect.FileDescriptor{
		seguev1.File_segue_v1_retrieval_service_proto,
		seguev1.File_segue_v1_item_service_proto,
		seguev1.File_segue_v1_profile_service_proto,
		seguev1.File_segue_v1_exclusion_service_proto,
		seguev1.File_segue_v1_collection_service_proto,
		seguev1.File_segue_v1_admin_service_proto,
		seguev1.File_segue_v1_import_service_proto,
		seguev1.File_segue_v1_release_service_proto,
	}
}

// The shape of a gRPC service config, as far as it is used (grpc/service_config/service_config.proto).
type (
	methodName struct {
		Service string `json:"service"`
		Method  string `json:"method"`
	}
	retryPolicy struct {
		MaxAttempts          int      `json:"maxAttempts"`
		InitialBackoff       string   `json:"initialBackoff"`
		MaxBackoff           string   `json:"maxBackoff"`
		BackoffMultiplier    float64  `json:"backoffMultiplier"`
		RetryableStatusCodes []string `json:"retryableStatusCodes"`
	}
	methodConfig struct {
		Name        []methodName `json:"name"`
		RetryPolicy retryPolicy  `json:"retryPolicy"`
	}
	retryThrottling struct {
		MaxTokens  float64 `json:"maxTokens"`
		TokenRatio float64 `json:"tokenRatio"`
	}
	healthCheck struct {
		ServiceName string `json:"serviceName"`
	}
	config struct {
		MethodConfig        []methodConfig        `json:"methodConfig"`
		RetryThrottling     retryThrottling       `json:"retryThrottling"`
		LoadBalancingConfig []map[string]struct{} `json:"loadBalancingConfig,omitempty"`
		HealthCheckConfig   *healthCheck          `json:"healthCheckConfig,omitempty"`
	}
)

// serviceConfig is the retry policy as JSON: every method declared idempotent or free of side effects is
// tried up to 5 times (gRPC's own ceiling) over about 4 seconds while the answer is UNAVAILABLE. Methods
// that are not, such as CreateCollection, are never repeated: a lost answer must not turn into a wrong one; nor
// are streams, for what was sent on them is gone. A client of which 500 calls more failed than a tenth of those that did not
// repeats none until more succeed: servers that are going down are not asked five times as much.
//
// With roundRobin calls take turns over all addresses, and servers that say that they do not serve are left out.
func serviceConfig(roundRobin bool) string {
	var names []methodName
	for _, file := range services() {
		for i := range file.Services().Len() {
			service := file.Services().Get(i)
			for j := range service.Methods().Len() {
				if method := service.Methods().Get(j); retryable(method) {
					names = append(names, methodName{string(service.FullName()), string(method.Name())})
				}
			}
		}
	}
	c := config{
		MethodConfig: []methodConfig{{
			Name: names,
			RetryPolicy: retryPolicy{
				MaxAttempts:          5,
				InitialBackoff:       "0.1s",
				MaxBackoff:           "2s",
				BackoffMultiplier:    3,
				RetryableStatusCodes: []string{"UNAVAILABLE"},
			},
		}},
		RetryThrottling: retryThrottling{MaxTokens: 1000, TokenRatio: 0.1},
	}
	if roundRobin {
		c.LoadBalancingConfig = []map[string]struct{}{{"round_robin": {}}}
		c.HealthCheckConfig = &healthCheck{ServiceName: seguev1.RetrievalService_ServiceDesc.ServiceName}
	}
	b, err := json.Marshal(c)
	if err != nil {
		panic(err) // a struct of strings and numbers always encodes
	}
	return string(b)
}

func retryable(m protoreflect.MethodDescriptor) bool {
	options, ok := m.Options().(*descriptorpb.MethodOptions)
	return ok && !m.IsStreamingClient() && !m.IsStreamingServer() && options.GetIdempotencyLevel() != descriptorpb.MethodOptions_IDEMPOTENCY_UNKNOWN
}
