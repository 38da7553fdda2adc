"""fastmcp: fast.py MODE stdio SHIM SOCKET WORKSPACE, or fast.py MODE http URL TOKEN."""

import asyncio
import sys

from fastmcp import Client
from fastmcp.client.transports import StdioTransport

mode, kind, *target = sys.argv[1:]


async def main() -> None:
    if kind == "stdio":
        shim, socket, workspace = target
        transport = StdioTransport(shim, ["--socket", socket, "--workspace", workspace], keep_alive=False)
        client = Client(transport, mode=mode)
    else:
        url, token = target
        client = Client(url, auth=token, mode=mode)
    async with client:
        assert len(await client.list_tools()) >= 20
        read = await client.call_tool("files_read", {"path": "hello.txt"})
        assert read.structured_content["content"] == "hello\n", read
        missing = await client.call_tool("files_read", {"path": "missing"}, raise_on_error=False)
        assert missing.is_error and "not_found" in missing.content[0].text, missing
    print("DONE")


asyncio.run(main())
