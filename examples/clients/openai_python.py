"""The official Python SDK: pip install openai. Address and key come from OPENAI_BASE_URL and OPENAI_API_KEY."""

from openai import OpenAI
from pydantic import BaseModel

client = OpenAI()
hello = [{"role": "user", "content": "Hello, who are you?"}]

answer = client.chat.completions.create(model="sandbox", messages=hello)
print(answer.choices[0].message.content)

for chunk in client.chat.completions.create(model="sandbox", messages=hello, stream=True):
    print(chunk.choices[0].delta.content or "", end="", flush=True)
print()


class Person(BaseModel):
    name: str
    age: int


parsed = client.chat.completions.parse(model="sandbox", messages=hello, response_format=Person)
print(repr(parsed.choices[0].message.parsed))

tool = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}
question = [{"role": "user", "content": "What is the weather in Bern?"}]
called = client.chat.completions.create(model="sandbox", messages=question, tools=[tool])
print(called.choices[0].message.tool_calls[0].function)

print([model.id for model in client.models.list()])
