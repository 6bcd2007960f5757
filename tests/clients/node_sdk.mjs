// What users of the official Node SDK do; run by test_node_sdk.py with OPENAI_BASE_URL and OPENAI_API_KEY set.
// Prints one JSON document of what came back.
import { createRequire } from "node:module";
import path from "node:path";
import { pathToFileURL } from "node:url";

// The package may lie anywhere; only its folder is given.
const require = createRequire(path.join(process.env.NODE_SDK_FOLDER, "here.js"));
const { default: OpenAI } = await import(pathToFileURL(require.resolve("openai")).href);
const client = new OpenAI();
const model = "sandbox/echo";
const say = (content) => [{ role: "user", content }];
const found = {};

const whole = await client.chat.completions.create({ model, messages: say("Hello there") });
found.text = whole.choices[0].message.content;
found.usage = whole.usage;
found.tresor = whole.tresor;
found.requestId = whole._request_id;

found.streamed = "";
for await (const chunk of await client.chat.completions.create({ model, messages: say("Hello there"), stream: true })) {
  found.streamed += chunk.choices[0].delta.content ?? "";
}

const helper = client.chat.completions.stream({
  model,
  messages: say("Hello there"),
  stream_options: { include_usage: true },
});
found.events = 0;
helper.on("content", () => (found.events += 1));
found.gathered = (await helper.finalMessage()).content;
found.total = await helper.totalUsage();

const tool = {
  type: "function",
  function: {
    name: "get_weather",
    parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
  },
};
const runner = client.chat.completions.runTools({
  model,
  messages: say("What is the weather in Bern?"),
  tools: [{ type: "function", function: { ...tool.function, function: (args) => args, parse: JSON.parse } }],
});
runner.on("functionToolCall", (call) => (found.call = call));
found.afterTools = await runner.finalContent();

const parallel = client.chat.completions.stream({ model, messages: say("Weather in Bern and Oslo"), tools: [tool] });
found.calls = (await parallel.finalMessage()).tool_calls.map((call) => JSON.parse(call.function.arguments).city);

const schema = {
  type: "object",
  properties: { name: { type: "string" }, age: { type: "integer" } },
  required: ["name", "age"],
  additionalProperties: false,
};
const parsed = await client.chat.completions.parse({
  model,
  messages: say("A person"),
  response_format: { type: "json_schema", json_schema: { name: "person", schema, strict: true } },
});
found.person = parsed.choices[0].message.parsed;

found.models = [];
for await (const each of client.models.list()) found.models.push(each.id);
found.retrieved = (await client.models.retrieve("local/sandbox/sandbox")).id;

const raw = await client.chat.completions
  .create({ model, messages: say("Hi") }, { headers: { "x-request-id": "node-1" } })
  .withResponse();
found.header = raw.response.headers.get("x-request-id");

found.errors = {};
for (const [name, body, key] of [
  ["temperature", { model, messages: say("x"), temperature: 9 }],
  ["unknown", { model: "unknown", messages: say("x") }],
  ["failing", { model: "sandbox/fail-500", messages: say("x") }],
  ["key", { model, messages: say("x") }, "wrong"],
]) {
  try {
    await (key ? new OpenAI({ apiKey: key }) : client).chat.completions.create(body);
  } catch (error) {
    found.errors[name] = [error.constructor.name, error.status, error.code];
  }
}

found.broken = "";
try {
  const stream = await client.chat.completions.create({ model: "sandbox/truncate", messages: say("x"), stream: true });
  for await (const chunk of stream) found.broken += chunk.choices[0].delta.content ?? "";
  found.brokenBy = "nothing";
} catch (error) {
  found.brokenBy = [error.constructor.name, error.code];
}

const flat = { type: "function", strict: false, ...tool.function };
found.response = (await client.responses.create({ model, input: "Hello there" })).output_text;
const responding = client.responses.stream({ model, input: say("Weather in Bern and Oslo"), tools: [flat] });
found.deltas = 0;
responding.on("response.function_call_arguments.delta", () => (found.deltas += 1));
found.called = (await responding.finalResponse()).output
  .filter((item) => item.type === "function_call")
  .map((item) => JSON.parse(item.arguments).city);

found.brokenResponse = "";
try {
  for await (const event of await client.responses.create({ model: "sandbox/truncate", input: "x", stream: true })) {
    if (event.type === "response.output_text.delta") found.brokenResponse += event.delta;
  }
  found.brokenResponseBy = "nothing";
} catch (error) {
  found.brokenResponseBy = [error.constructor.name, error.code];
}

console.log(JSON.stringify(found));
