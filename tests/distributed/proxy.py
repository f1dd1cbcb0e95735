"""A TCP proxy before the object store: `proxy.py PORT STORE_PORT FOLDER`. While it is dead, nobody can connect.

A regular expression in the file FOLDER/hold stops the first request that it matches: FOLDER/held then has the client's
port, and the request goes on when that file is removed.
"""

import asyncio
import re
import sys
from pathlib import Path

PORT, STORE, FOLDER = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])


async def hold(data: bytes, writer: asyncio.StreamWriter) -> None:
    wanted, held = FOLDER / "hold", FOLDER / "held"
    if wanted.exists() and re.search(wanted.read_bytes(), data):
        wanted.unlink()
        held.write_text(str(writer.get_extra_info("peername")[1]))
        while held.exists():
            await asyncio.sleep(0.05)


async def relay(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, client: asyncio.StreamWriter | None
) -> None:
    try:
        while data := await reader.read(1 << 16):
            if client:
                await hold(data, client)
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        answers, requests = await asyncio.open_connection("127.0.0.1", STORE)
    except OSError:
        writer.close()
        return
    await asyncio.gather(relay(reader, requests, writer), relay(answers, writer, None))


async def main() -> None:
    async with await asyncio.start_server(serve, "127.0.0.1", PORT) as server:
        await server.serve_forever()


asyncio.run(main())
