"""Ask a front door from a program: python remote.py URL APPLICATION IMAGE... (its token is in SPLITPLACE_TOKEN)."""

import asyncio
import sys

import splitplace as sp


async def side_by_side(url: str, application: str, files: list[str]) -> list[sp.TaskResult]:
    """Each file as a task of its own."""
    async with sp.AsyncRemoteClient(url) as client:
        tasks = [await client.submit(application, file, deadline_s=300) for file in files]
        return [await client.result(task) for task in tasks]


if __name__ == "__main__":
    url, application, *files = sys.argv[1:]
    with sp.RemoteClient(url) as client:
        names = client.applications()[application].class_names
        answer = client.submit(application, files, deadline_s=300).result()
        print(answer.outcome.split, [names[label] for label in answer.logits.argmax(axis=1)])
    for file, answer in zip(files, asyncio.run(side_by_side(url, application, files)), strict=True):
        print(file, names[answer.logits.argmax()], f"{answer.outcome.response_s:.3f} s")
