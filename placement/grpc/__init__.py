"""The front door over gRPC (`splitplace serve --grpc-port`): see README.md."""
