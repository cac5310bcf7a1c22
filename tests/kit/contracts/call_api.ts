// Submits a task and reads its typed result with the client that openapi-typescript made.
import createClient from "openapi-fetch";
import type { components, paths } from "./schema";

const client = createClient<paths>({ baseUrl: process.argv[2] });

async function main(): Promise<void> {
  const submitted = await client.POST("/tasks", {
    body: { task_type: "sample.echo", payload: { value: "Ada" } },
  });
  if (submitted.error !== undefined) throw new Error(submitted.error.detail);
  const path = { task_id: submitted.data.task_id };
  await (await fetch(`${process.argv[2]}/tasks/${path.task_id}/events`)).text(); // the stream ends with the task
  const { data: task } = await client.GET("/tasks/{task_id}", { params: { path } });
  if (task === undefined || !("task_type" in task) || task.task_type !== "sample.echo") throw new Error("another task");
  const result: components["schemas"]["Echoed"] | null | undefined = task.result;
  console.log(JSON.stringify({ value: result?.value, attempt: result?.attempt }));
  // @ts-expect-error: no such field in this type of task's result
  void result?.greeting;
}

void main();
