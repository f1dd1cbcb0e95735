"""An extractor that does what hostile recordings make decoders do."""

import ctypes
import os
import time

import numpy as np
import pyarrow as pa

from avlake.errors import RequestError, WorkError
from avlake.extractors import base
from avlake.tables import silver


class Hostile(base.Extractor):
    table = silver("hostile", "misbehaviour, for tests", columns={"note": pa.string()})
    version = 1

    class Params(base.Params):
        behaviour: str

    def measure(self, clip):
        note = getattr(self, "_" + self.params.behaviour)()
        return {"note": np.array([note or ""])} if note != "wrong" else {"unknown": np.array([1])}

    def _hang(self):
        time.sleep(3600)

    def _segfault(self):
        ctypes.string_at(0)

    def _exit(self):
        os._exit(3)

    def _touch_memory(self):
        # Many small blocks, as a decoder bomb grows; the parent must see it before the machine suffers.
        keep = []
        while True:
            keep.append(np.ones(1 << 20))
            time.sleep(0.01)

    def _allocate(self):
        np.ones(1 << 40)

    def _raise(self):
        raise ZeroDivisionError("planted")

    def _wrong_columns(self):
        return "wrong"

    def _dawdle(self):
        time.sleep(2.5)

    def _lack_a_setting(self):
        raise RequestError("model file x is missing: fetch it")

    def _lack_a_library(self):
        raise WorkError("y does not load: install it")

    def _lack_a_module(self):
        import no_such_module_of_anybody  # noqa: F401

    def _print(self):
        print("noise on standard output")
        os.write(1, b"more noise")

    def _environment(self):
        return repr(dict(os.environ))


EXTRACTOR = Hostile
