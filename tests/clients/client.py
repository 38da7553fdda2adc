"""Drives skynet-shim with the official Python SDK: client.py MODE SHIM SOCKET WORKSPACE."""

import asyncio
import sys

from mcp import Client
from mcp.client.stdio import StdioServerParameters

mode, shim, socket, workspace = sys.argv[1:]


async def main() -> None:
    server = StdioServerParameters(command=shim, args=["--socket", socket, "--workspace", workspace])
    async with Client(server, mode=mode) as client:
        tools = (await client.list_tools()).tools
        assert len(tools) >= 20, len(tools)
        read = await client.call_tool("files_read", {"path": "hello.txt"})
        assert read.structured_content["content"] == "hello\n", read
        written = await client.call_tool("files_write", {"path": f"from-{mode}.txt", "content": "x"})
        assert not written.is_error, written
        missing = await client.call_tool("files_read", {"path": "missing"})
        assert missing.is_error and "not_found" in missing.content[0].text, missing
        many = await asyncio.gather(*[client.call_tool("files_list", {}) for _ in range(20)])
        assert all(not answer.is_error for answer in many)
    print("DONE")


asyncio.run(main())
