"""OpenAI Agents SDK: pip install openai-agents. Address and key come from OPENAI_BASE_URL and OPENAI_API_KEY."""

import asyncio

from agents import Agent, Runner, function_tool, set_default_openai_api, set_tracing_disabled
from openai.types.responses import ResponseTextDeltaEvent
from pydantic import BaseModel

set_default_openai_api("chat_completions")
set_tracing_disabled(True)


@function_tool
def weather(city: str) -> str:
    """The weather in a city."""
    return f"21 degrees in {city}"


class Person(BaseModel):
    name: str
    age: int


async def main() -> None:
    plain = Agent(name="Helper", model="sandbox")
    print((await Runner.run(plain, "Hello, who are you?")).final_output)

    streamed = Runner.run_streamed(plain, "Hello, who are you?")
    async for event in streamed.stream_events():
        if event.type == "raw_response_event" and isinstance(event.data, ResponseTextDeltaEvent):
            print(event.data.delta, end="", flush=True)
    print()

    with_tool = Agent(name="Weather", model="sandbox", tools=[weather])
    result = await Runner.run(with_tool, "What is the weather in Bern?")
    print([item.type for item in result.new_items], result.final_output)

    extract = Agent(name="Extractor", model="sandbox", output_type=Person)
    print(repr((await Runner.run(extract, "Extract the person.")).final_output))


asyncio.run(main())
