module example.com/adsml

go 1.19

require (
	google.golang.org/genproto v0.0.0-20210821163610-241b8fcbd6c8
	google.golang.org/grpc v1.64.0
	google.golang.org/protobuf v1.34.2
)
