// Against a console that runs: TOLLGATE_URL, and TOLLGATE_TOKEN of the role admin, which sets the budgets.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { BlockedError, Tollgate, TollgateError } from "../src/index.js";

const { TOLLGATE_URL: url = "http://127.0.0.1:8080", TOLLGATE_TOKEN: token = "" } = process.env;
const toll = new Tollgate({ url, token, source: "typescript" });
const call = { provider: "openai", model: "gpt-4o" };
// 1,200 × 0.0000025 + 300 × 0.00001
const usage = { input_tokens: 1200, output_tokens: 300 };
const cost = "0.006";

async function until<T>(read: () => Promise<T>, holds: (found: T) => boolean): Promise<T> {
  const deadline = Date.now() + 30_000;
  for (;;) {
    const found = await read();
    if (holds(found)) return found;
    assert.ok(Date.now() < deadline, `after 30 s still ${JSON.stringify(found)}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function spent(user: string): Promise<string | undefined> {
  const query = { scope: `user/${user}`, window: "lifetime" } as const;
  return (await toll.api.GET("/api/v1/spend", { params: { query } })).data?.spent_usd;
}

async function limit(user: string, amount: string): Promise<void> {
  const body = { scope: `user/${user}`, limit: amount, window: "day" } as const;
  const set = await toll.api.PUT("/api/v1/budgets/{id}", { params: { path: { id: user } }, body });
  assert.equal(set.data?.limit, amount);
}

test("a call is counted once, however often it is recorded, and then refused", async () => {
  const user = `ts-${randomUUID()}`;
  const time = new Date();
  const id = await toll.record({ user, ...call, usage, time });
  assert.equal(await toll.record({ user, ...call, usage, time, id }), id);
  await until(() => spent(user), (found) => found === cost);
  assert.equal((await toll.check({ user, ...call })).allowed, true);
  await limit(user, "0.005");
  const decision = await until(() => toll.check({ user, ...call }), (found) => !found.allowed);
  assert.deepEqual([decision.http_status, decision.error, decision.scope], [429, "usage_limit_exceeded", `user/${user}`]);
  assert.equal(await spent(user), cost);
});

test("a reservation is released, another settled, and a third denied", async () => {
  const user = `ts-${randomUUID()}`;
  await limit(user, "0.1");
  const asked = { user, amount_usd: "0.1", ...call };
  {
    await using held = await toll.reserve(asked);
    assert.equal(held.granted.amount_usd, "0.1");
    await assert.rejects(toll.reserve(asked), BlockedError);
  }
  // What was released is free once the worker has read so.
  const held = await until(
    () => toll.reserve(asked).catch((error: unknown) => error),
    (found) => !(found instanceof BlockedError),
  );
  assert.ok(held && typeof held === "object" && "settle" in held, String(held));
  await (held as Awaited<ReturnType<Tollgate["reserve"]>>).settle({ usage });
  await until(() => spent(user), (found) => found === cost);
  await assert.rejects(toll.reserve(asked), (error: unknown) => {
    assert.ok(error instanceof BlockedError);
    assert.deepEqual([error.status, error.error, error.problem?.["spent"]], [429, "usage_limit_exceeded", cost]);
    return true;
  });
});

test("wrong usage is told with its field", async () => {
  const wrong = toll.record({ user: "ts", ...call, usage: { input_tokens: -1 } });
  await assert.rejects(wrong, (error: unknown) => {
    assert.ok(error instanceof TollgateError);
    assert.equal(error.status, 422);
    assert.match(error.message, /data\.usage\.input_tokens/);
    return true;
  });
});

test("a request is sent again with the same id while the console is busy", async () => {
  const ids: string[] = [];
  const server = createServer(async (request, response) => {
    let body = "";
    for await (const part of request) body += part;
    ids.push(JSON.parse(body).id);
    const busy = { type: "about:blank", title: "", status: 503, error: "kafka_unavailable", detail: "", request_id: "" };
    response.writeHead(ids.length < 3 ? 503 : 202, { "Content-Type": "application/json" });
    response.end(JSON.stringify(ids.length < 3 ? busy : { accepted: 1, refused: [], made: [] }));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const client = new Tollgate({ url: `http://127.0.0.1:${port}`, token, source: "typescript" });
  const id = await client.record({ user: "ts", ...call, usage });
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  assert.deepEqual(ids, [id, id, id]);
  await assert.rejects(new Tollgate({ url: `http://127.0.0.1:${port}`, token, source: "x", attempts: 2 }).check({}), {
    error: "unreachable",
  });
});

test("a reservation without an answer is released, unless the caller can ask again, and a conflict blocks", async () => {
  const problem = { type: "about:blank", title: "", detail: "", request_id: "" };
  const seen: string[] = [];
  const server = createServer(async (request, response) => {
    let body = "";
    for await (const part of request) body += part;
    const { id, user } = JSON.parse(body);
    seen.push(`${decodeURIComponent(request.url ?? "")} ${user}`);
    const released = request.url?.endsWith("/release");
    const status = released ? 202 : id === "twice" ? 409 : 503;
    const error = status === 409 ? "reservation_conflict" : "no_decision";
    response.writeHead(status, { "Content-Type": "application/json" });
    response.end(JSON.stringify(released ? { reservation_id: "", event_id: null } : { ...problem, status, error }));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const client = new Tollgate({ url: `http://127.0.0.1:${port}`, token, source: "typescript", attempts: 1 });
  const asked = { user: "ts", amount_usd: "0.1" };
  await assert.rejects(client.reserve({ ...asked, id: "own" }), { error: "no_decision" });
  await assert.rejects(client.reserve({ ...asked, id: "twice" }), BlockedError);
  await assert.rejects(client.reserve(asked), { error: "no_decision" });
  const found = await until(async () => seen, (told) => told.length === 4);
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  assert.deepEqual(found.slice(0, 3), Array(3).fill("/api/v1/reservations ts"));
  assert.match(found[3] ?? "", /^\/api\/v1\/reservations\/[0-9a-f-]{36}\/release ts$/);
});
