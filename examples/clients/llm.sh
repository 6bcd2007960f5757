#!/bin/sh
# llm, the command line tool: pip install llm. Address and key come from OPENAI_BASE_URL and OPENAI_API_KEY.
set -eu

endpoint() {
  llm openai endpoint "$OPENAI_BASE_URL" --key "$OPENAI_API_KEY" "$@"
}

endpoint --models
endpoint -m sandbox "Hello, who are you?"
endpoint -m sandbox --no-stream "Hello, who are you?"
endpoint -m sandbox --schema "name, age int" "Extract the person."
endpoint -m sandbox --functions 'def weather(city: str) -> str:
    "The weather in a city."
    return f"21 degrees in {city}"' "What is the weather in Bern?"
