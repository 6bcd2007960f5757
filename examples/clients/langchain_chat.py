"""LangChain: pip install langchain-openai. Address and key come from OPENAI_BASE_URL and OPENAI_API_KEY."""

from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

model = ChatOpenAI(model="sandbox")

print(model.invoke("Hello, who are you?").content)

for chunk in model.stream("Hello, who are you?"):
    print(chunk.content, end="", flush=True)
print()


class Person(BaseModel):
    name: str
    age: int


print(repr(model.with_structured_output(Person).invoke("Extract the person.")))


@tool
def weather(city: str) -> str:
    """The weather in a city."""
    return f"21 degrees in {city}"


print(model.bind_tools([weather]).invoke("What is the weather in Bern?").tool_calls)
