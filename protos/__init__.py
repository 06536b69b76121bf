"""The wire: `gate.proto`, its generated stubs, and the tensor codec."""
