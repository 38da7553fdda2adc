"""The official Python SDK: client.py MODE stdio SHIM SOCKET WORKSPACE, or client.py MODE http URL TOKEN."""

import asyncio
import sys

import httpx2
from mcp import Client
from mcp.client.stdio import StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

mode, kind, *target = sys.argv[1:]


async def drive(server) -> None:
    async with Client(server, mode=mode) as client:
        tools = (await client.list_tools()).tools
        assert len(tools) >= 20, len(tools)
        read = await client.call_tool("files_read", {"path": "hello.txt"})
        assert read.structured_content["content"] == "hello\n", read
        written = await client.call_tool("files_write", {"path": f"from-{kind}-{mode}.txt", "content": "x"})
        assert not written.is_error, written
        missing = await client.call_tool("files_read", {"path": "missing"})
        assert missing.is_error and "not_found" in missing.content[0].text, missing
        many = await asyncio.gather(*[client.call_tool("files_list", {}) for _ in range(20)])
        assert all(not answer.is_error for answer in many)
        assert len((await client.list_prompts()).prompts) >= 5
        resources = (await client.list_resources()).resources
        await client.read_resource(str(resources[0].uri))
    print("DONE")


async def main() -> None:
    if kind == "stdio":
        shim, socket, workspace = target
        await drive(StdioServerParameters(command=shim, args=["--socket", socket, "--workspace", workspace]))
        return
    url, token = target
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx2.AsyncClient(headers=headers, timeout=httpx2.Timeout(30, read=300)) as http:
        await drive(streamable_http_client(url, http_client=http))


asyncio.run(main())
