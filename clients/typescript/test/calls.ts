// Calls of the API as a service in TypeScript writes them. It must compile against the generated types.
import createClient from "openapi-fetch";
import type { components, paths } from "../src/api.js";

type Budget = components["schemas"]["Budget"];
type Problem = components["schemas"]["Problem"];

const api = createClient<paths>({ baseUrl: "http://127.0.0.1:8080", headers: { Authorization: "Bearer …" } });

export async function mayCall(user: string, model: string): Promise<boolean> {
  const { data, error } = await api.POST("/api/v1/check", { body: { user, model, estimate_usd: "0.02" } });
  if (error) {
    const problem: Problem = error;
    throw new Error(`${problem.status} ${problem.error}: ${problem.detail}`);
  }
  return data.allowed;
}

export async function raise(id: string, limit: string): Promise<string> {
  const path = { id };
  const found = await api.GET("/api/v1/budgets/{id}", { params: { path } });
  const budget: Budget | undefined = found.data;
  if (budget === undefined) throw new Error("There is no such budget.");
  const changed = await api.PUT("/api/v1/budgets/{id}", {
    params: { path, header: { "If-Match": `"${budget.version}"` } },
    body: { scope: budget.scope, limit, window: budget.window, reason: "a larger project" },
  });
  return changed.data?.limit ?? budget.limit;
}

export async function report(user: string): Promise<number> {
  const { data } = await api.POST("/api/v1/usage", {
    params: { header: { "Idempotency-Key": "5f0d8c1e-2f" } },
    body: [{ source: "chat-api", subject: user, data: { provider: "openai", model: "gpt-4o", usage: { images: 1 } } }],
  });
  return data?.accepted ?? 0;
}

export async function everyBudget(): Promise<Budget[]> {
  const found: Budget[] = [];
  let cursor = "";
  do {
    const { data } = await api.GET("/api/v1/budgets", { params: { query: { limit: 1000, cursor } } });
    found.push(...(data?.items ?? []));
    cursor = data?.next_cursor ?? "";
  } while (cursor !== "");
  return found;
}

// @ts-expect-error there is no such path
void api.GET("/api/v1/nothing");
// @ts-expect-error a window is one of a few words
void api.GET("/api/v1/spend", { params: { query: { scope: "global", window: "fortnight" } } });
