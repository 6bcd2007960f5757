#!/bin/sh
# aider: pip install aider-chat. Address and key come from OPENAI_BASE_URL and OPENAI_API_KEY.
# Any model of the gateway is openai/NAME to it.
set -eu

exec aider --model openai/sandbox --openai-api-base "$OPENAI_BASE_URL" --no-show-model-warnings --no-git --yes-always \
  --no-check-update --no-analytics --message "Hello, who are you?" "$@"
