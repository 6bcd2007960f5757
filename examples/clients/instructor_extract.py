"""Instructor: pip install instructor. Address and key come from OPENAI_BASE_URL and OPENAI_API_KEY."""

import instructor
from pydantic import BaseModel


class Person(BaseModel):
    name: str
    age: int


messages = [{"role": "user", "content": "Extract the person."}]

for mode in (instructor.Mode.TOOLS, instructor.Mode.JSON_SCHEMA):
    client = instructor.from_provider("openai/sandbox", mode=mode)
    print(mode.value, repr(client.chat.completions.create(response_model=Person, messages=messages)))

client = instructor.from_provider("openai/sandbox")
for part in client.chat.completions.create_partial(response_model=Person, messages=messages):
    print(part)
