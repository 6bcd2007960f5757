// The official Node SDK: npm install openai. Address and key come from OPENAI_BASE_URL and OPENAI_API_KEY.
import OpenAI from "openai";

const client = new OpenAI();
const messages = [{ role: "user", content: "Hello, who are you?" }];

const answer = await client.chat.completions.create({ model: "sandbox", messages });
console.log(answer.choices[0].message.content);

const stream = await client.chat.completions.create({ model: "sandbox", messages, stream: true });
for await (const chunk of stream) process.stdout.write(chunk.choices[0].delta.content ?? "");
console.log();

const weather = {
  type: "function",
  function: {
    name: "weather",
    parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
    parse: JSON.parse,
    function: ({ city }) => `21 degrees in ${city}`,
  },
};
const runner = client.chat.completions.runTools({
  model: "sandbox",
  messages: [{ role: "user", content: "What is the weather in Bern?" }],
  tools: [weather],
});
console.log(await runner.finalContent());
