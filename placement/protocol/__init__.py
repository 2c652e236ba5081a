"""What passes between broker and devices: messages, keys, a stream of tensors with credits."""
