/**
 * Tollgate's REST API for services in TypeScript: report usage, ask before a call, reserve.
 *
 * The types in `api.ts` are generated from the API's own description by `npm run build`.
 */
import createClient, { type Client } from "openapi-fetch";
import type { components, paths } from "./api.js";

type Schemas = components["schemas"];

/** Whether a call may go ahead, and what to answer where it may not. */
export type Decision = Schemas["CheckAnswer"];
/** What an error answer holds; further members depend on `error`. */
export type Problem = Schemas["Problem"];
/** The names of a call: provider, model, feature and so on. */
export type Names = Omit<Schemas["CheckBody"], "user" | "estimate_usd">;
/** What a call used. `id` and `time` are made when they are left out. */
export type Usage = Schemas["UsageData"] & { user: string; id?: string; time?: Date };
/** What to set aside: `amount_usd`, `credits` or both, and the names of the call. */
export type Asked = Omit<Schemas["ReservationBody"], "source" | "ttl_seconds"> & { ttl_seconds?: number };
/** What the call of a reservation used. With `more` further calls settle the same reservation. */
export type Settled = Partial<Schemas["UsageData"]> & { id?: string; time?: Date; more?: boolean };

export interface Options {
  /** The console's address: `http://127.0.0.1:8080`. */
  url: string;
  /** Of the role `service`: `tollgate token create --role service`. */
  token: string;
  /** The name of this service. With an event's id it is the event's identity. */
  source: string;
  /** How long one request may take. 10 s unless set. */
  timeoutMs?: number;
  /** How often a request is sent at most, while the console is busy or away. 4 unless set. */
  attempts?: number;
}

/** The API's answer was an error, or there was none. */
export class TollgateError extends Error {
  override readonly name: string = "TollgateError";

  constructor(
    readonly status: number,
    readonly error: string,
    message: string,
    readonly problem?: Problem,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** A reservation was denied. Answer your caller with `status` and `error`. */
export class BlockedError extends TollgateError {
  override readonly name = "BlockedError";
}

const DENIALS = new Set([
  "usage_limit_exceeded",
  "insufficient_credits",
  "spending_stopped",
  "too_many_reservations",
  "reservation_ended",
  "reservation_conflict",
]);
const WAIT_MS_MAX = 10_000;

interface Answer<T> {
  data?: T;
  error?: unknown;
  response: Response;
}

/** One for each process. */
export class Tollgate {
  /** Every other operation of the API, typed: `toll.api.GET("/api/v1/budgets")`. */
  readonly api: Client<paths>;
  readonly source: string;
  readonly #attempts: number;

  constructor(options: Options) {
    const { timeoutMs = 10_000 } = options;
    this.source = options.source;
    this.#attempts = options.attempts ?? 4;
    this.api = createClient<paths>({
      baseUrl: options.url,
      headers: { Authorization: `Bearer ${options.token}` },
      fetch: (request) => fetch(request, { signal: AbortSignal.timeout(timeoutMs) }),
    });
  }

  /** Record a call, and return the id of its event once Kafka has stored it. The same `id` again counts once. */
  async record(usage: Usage): Promise<string> {
    const { user, id = crypto.randomUUID(), time = new Date(), ...data } = usage;
    const body = { source: this.source, subject: user, id, time: time.toISOString(), data };
    await this.#send(() => this.api.POST("/api/v1/usage", { body }));
    return id;
  }

  /** May a call with these names go ahead? With `estimate_usd` it is also denied when it would pass a budget. */
  check(call: Schemas["CheckBody"]): Promise<Decision> {
    return this.#send(() => this.api.POST("/api/v1/check", { body: call }));
  }

  /**
   * Set money or credits aside for a call. BlockedError when it is denied. Without an answer it may be granted all the
   * same: ask again with the same `id`. What has no `id` of yours is released then.
   */
  async reserve(asked: Asked): Promise<Reservation> {
    const { ttl_seconds = 60, id: own = null, ...rest } = asked;
    const id = own ?? crypto.randomUUID();
    const body = { ...rest, source: this.source, id, ttl_seconds };
    let granted: Schemas["ReservationAnswer"];
    try {
      granted = await this.#send(() => this.api.POST("/api/v1/reservations", { body }));
    } catch (error) {
      const unanswered = error instanceof TollgateError && !(error instanceof BlockedError) && error.status >= 500;
      // In the background: who asked has waited already, and at the end of its time to live it is free anyway.
      if (unanswered && own === null) this.#end("release", { reservation_id: id, user: rest.user }, {}).catch(() => {});
      throw error;
    }
    const { amount_usd: _amount, credits: _credits, user: _user, ...names } = rest;
    return new Reservation(granted, names, (path, given) => this.#end(path, granted, given));
  }

  #end(path: End, { reservation_id, user }: Whose, given: object): Promise<Schemas["Sent"]> {
    const body = { ...given, source: this.source, user };
    const params = { path: { id: reservation_id } };
    return this.#send(() => this.api.POST(`/api/v1/reservations/{id}/${path}`, { params, body }));
  }

  /** Every request has an id of its own event or reservation, so that sending it again changes nothing. */
  async #send<T>(request: () => Promise<Answer<T>>): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      const last = attempt >= this.#attempts;
      let answer: Answer<T>;
      try {
        answer = await request();
      } catch (error) {
        if (last) throw new TollgateError(503, "unreachable", "The console does not answer.", undefined, { cause: error });
        await wait(100 * 2 ** attempt);
        continue;
      }
      const { data, response } = answer;
      if (data !== undefined) return data;
      const problem = answer.error as Problem | undefined;
      if (problem && DENIALS.has(problem.error)) throw denied(problem);
      if (last || (response.status !== 429 && response.status !== 503)) {
        const message = problem?.detail ?? `The console answered ${response.status}.`;
        throw new TollgateError(response.status, problem?.error ?? "unknown", message, problem);
      }
      const seconds = Number(response.headers.get("Retry-After"));
      await wait(Math.min(seconds > 0 ? seconds * 1000 : 100 * 2 ** attempt, WAIT_MS_MAX));
    }
  }
}

type End = "settle" | "release";
type Whose = Pick<Schemas["ReservationAnswer"], "reservation_id" | "user">;

/** Money or credits that are set aside. `await using` releases it, unless it was settled. */
export class Reservation {
  #open = true;
  readonly #names: Names;
  readonly #end: (path: End, given: object) => Promise<Schemas["Sent"]>;

  constructor(
    readonly granted: Schemas["ReservationAnswer"],
    names: Names,
    end: (path: End, given: object) => Promise<Schemas["Sent"]>,
  ) {
    this.#names = names;
    this.#end = end;
  }

  /** Record the call, with the names that were reserved for, and return its event's id. The rest is free at once. */
  async settle(settled: Settled): Promise<string> {
    const { id = crypto.randomUUID(), time = new Date(), more = false, ...data } = settled;
    const given = { ...this.#names, ...data, id, time: time.toISOString(), more };
    await this.#end("settle", given);
    this.#open = more;
    return id;
  }

  /** Free what is left of it: the call failed or was not made. */
  async release(): Promise<void> {
    if (!this.#open) return;
    await this.#end("release", {});
    this.#open = false;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.release();
  }
}

function denied(problem: Problem): BlockedError {
  return new BlockedError(problem.status, problem.error, problem.detail, problem);
}

function wait(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
