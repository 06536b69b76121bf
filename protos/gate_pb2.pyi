from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DTYPE_UNSPECIFIED: _ClassVar[DType]
    DTYPE_UINT8: _ClassVar[DType]
    DTYPE_FLOAT32: _ClassVar[DType]
DTYPE_UNSPECIFIED: DType
DTYPE_UINT8: DType
DTYPE_FLOAT32: DType

class Tensor(_message.Message):
    __slots__ = ("shape", "dtype", "data")
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    shape: _containers.RepeatedScalarFieldContainer[int]
    dtype: DType
    data: bytes
    def __init__(self, shape: _Optional[_Iterable[int]] = ..., dtype: _Optional[_Union[DType, str]] = ..., data: _Optional[bytes] = ...) -> None: ...

class DescribeRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Description(_message.Message):
    __slots__ = ("model", "input_shape", "classes", "max_batch", "max_unpaid", "algorithm", "hash_rate", "fingerprint", "audience", "client")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    INPUT_SHAPE_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    MAX_BATCH_FIELD_NUMBER: _ClassVar[int]
    MAX_UNPAID_FIELD_NUMBER: _ClassVar[int]
    ALGORITHM_FIELD_NUMBER: _ClassVar[int]
    HASH_RATE_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    AUDIENCE_FIELD_NUMBER: _ClassVar[int]
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    model: str
    input_shape: _containers.RepeatedScalarFieldContainer[int]
    classes: int
    max_batch: int
    max_unpaid: int
    algorithm: str
    hash_rate: float
    fingerprint: str
    audience: str
    client: str
    def __init__(self, model: _Optional[str] = ..., input_shape: _Optional[_Iterable[int]] = ..., classes: _Optional[int] = ..., max_batch: _Optional[int] = ..., max_unpaid: _Optional[int] = ..., algorithm: _Optional[str] = ..., hash_rate: _Optional[float] = ..., fingerprint: _Optional[str] = ..., audience: _Optional[str] = ..., client: _Optional[str] = ...) -> None: ...

class PredictRequest(_message.Message):
    __slots__ = ("request_id", "inputs")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    inputs: Tensor
    def __init__(self, request_id: _Optional[str] = ..., inputs: _Optional[_Union[Tensor, _Mapping]] = ...) -> None: ...

class SealedPrediction(_message.Message):
    __slots__ = ("challenge", "ciphertext", "receipt", "key")
    CHALLENGE_FIELD_NUMBER: _ClassVar[int]
    CIPHERTEXT_FIELD_NUMBER: _ClassVar[int]
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    challenge: bytes
    ciphertext: bytes
    receipt: Receipt
    key: Key
    def __init__(self, challenge: _Optional[bytes] = ..., ciphertext: _Optional[bytes] = ..., receipt: _Optional[_Union[Receipt, _Mapping]] = ..., key: _Optional[_Union[Key, _Mapping]] = ...) -> None: ...

class Receipt(_message.Message):
    __slots__ = ("queries_charged", "work", "server_seconds")
    QUERIES_CHARGED_FIELD_NUMBER: _ClassVar[int]
    WORK_FIELD_NUMBER: _ClassVar[int]
    SERVER_SECONDS_FIELD_NUMBER: _ClassVar[int]
    queries_charged: int
    work: int
    server_seconds: float
    def __init__(self, queries_charged: _Optional[int] = ..., work: _Optional[int] = ..., server_seconds: _Optional[float] = ...) -> None: ...

class RedeemRequest(_message.Message):
    __slots__ = ("challenge", "counters")
    CHALLENGE_FIELD_NUMBER: _ClassVar[int]
    COUNTERS_FIELD_NUMBER: _ClassVar[int]
    challenge: bytes
    counters: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, challenge: _Optional[bytes] = ..., counters: _Optional[_Iterable[str]] = ...) -> None: ...

class Key(_message.Message):
    __slots__ = ("key",)
    KEY_FIELD_NUMBER: _ClassVar[int]
    key: bytes
    def __init__(self, key: _Optional[bytes] = ...) -> None: ...

class GetAccountRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Account(_message.Message):
    __slots__ = ("queries", "unpaid_batches")
    QUERIES_FIELD_NUMBER: _ClassVar[int]
    UNPAID_BATCHES_FIELD_NUMBER: _ClassVar[int]
    queries: int
    unpaid_batches: int
    def __init__(self, queries: _Optional[int] = ..., unpaid_batches: _Optional[int] = ...) -> None: ...
