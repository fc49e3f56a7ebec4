# Copyright (c) the amp_stream authors.  See LICENSE for details.

"""
A file service over AMP: its Commands and errors, its server, and a client.

C{twistd amp-stream} runs the server, and the C{amp-stream} command is a client.
"""

from amp_stream.files._client import FileClient, FileOffer, connect
from amp_stream.files._commands import (
    AwaitOffer,
    GetFile,
    GetFileOutOfBand,
    ListFiles,
    OfferFile,
    Ping,
    PutFile,
    PutFileOutOfBand,
    RemoveFile,
    StatFile,
)
from amp_stream.files._server import FileServerFactory, FileService
from amp_stream.files._storage import (
    FILE_ERRORS,
    FileError,
    FileInfo,
    FileStore,
    FileTooLarge,
    InvalidName,
    NoSuchFile,
    NoSuchOffer,
    StorageFailed,
    StorageFull,
)

__all__ = [
    "FILE_ERRORS",
    "AwaitOffer",
    "FileClient",
    "FileError",
    "FileInfo",
    "FileOffer",
    "FileServerFactory",
    "FileService",
    "FileStore",
    "FileTooLarge",
    "GetFile",
    "GetFileOutOfBand",
    "InvalidName",
    "ListFiles",
    "NoSuchFile",
    "NoSuchOffer",
    "OfferFile",
    "Ping",
    "PutFile",
    "PutFileOutOfBand",
    "RemoveFile",
    "StatFile",
    "StorageFailed",
    "StorageFull",
    "connect",
]
