"""Pydantic AI: pip install "pydantic-ai-slim[openai]". Address and key: OPENAI_BASE_URL and OPENAI_API_KEY."""

import asyncio

from pydantic import BaseModel
from pydantic_ai import Agent


class Person(BaseModel):
    name: str
    age: int


agent = Agent("openai-chat:sandbox")
print(agent.run_sync("Hello, who are you?").output)

print(repr(Agent("openai-chat:sandbox", output_type=Person).run_sync("Extract the person.").output))


@agent.tool_plain
def weather(city: str) -> str:
    """The weather in a city."""
    return f"21 degrees in {city}"


result = agent.run_sync("What is the weather in Bern?")
print([type(message).__name__ for message in result.all_messages()], result.output)


async def main() -> None:
    async with agent.run_stream("Hello, who are you?") as stream:
        async for text in stream.stream_text(delta=True):
            print(text, end="", flush=True)
    print()


asyncio.run(main())
