// Vercel's AI SDK: npm install ai @ai-sdk/openai-compatible zod. Address and key: OPENAI_BASE_URL and OPENAI_API_KEY.
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, Output, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const sealgate = createOpenAICompatible({
  name: "sealgate",
  baseURL: process.env.OPENAI_BASE_URL,
  apiKey: process.env.OPENAI_API_KEY,
  includeUsage: true,
  supportsStructuredOutputs: true,
});
const model = sealgate("sandbox");

const { text, usage } = await generateText({ model, prompt: "Hello, who are you?" });
console.log(text, usage.totalTokens);

const streamed = streamText({ model, prompt: "Hello, who are you?" });
for await (const part of streamed.textStream) process.stdout.write(part);
console.log("", (await streamed.usage).totalTokens);

const { output } = await generateText({
  model,
  prompt: "Extract the person.",
  output: Output.object({ schema: z.object({ name: z.string(), age: z.number().int() }) }),
});
console.log(output);

const weather = tool({
  description: "The weather in a city.",
  inputSchema: z.object({ city: z.string() }),
  execute: async ({ city }) => `21 degrees in ${city}`,
});
const looped = await generateText({
  model,
  prompt: "What is the weather in Bern?",
  tools: { weather },
  stopWhen: stepCountIs(3),
});
console.log(looped.steps.map((step) => step.finishReason), looped.text);
