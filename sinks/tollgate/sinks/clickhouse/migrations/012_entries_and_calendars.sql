-- Entries, decisions about reservations, balances of credits, plans and who has them; sums of every calendar and
-- combination; and what budgets and flags say more since.

CREATE TABLE IF NOT EXISTS entry_records
(
    type LowCardinality(String) COMMENT 'tollgate.credit.v1, tollgate.revenue.v1 or tollgate.adjustment.v1',
    source LowCardinality(String) COMMENT 'Program that sent the entry; identity together with type, id and user',
    id String COMMENT 'Id of the entry; identity together with type, source and user',
    user String COMMENT 'The user id, a pseudonym that the service chose',
    time DateTime64(3, 'UTC') COMMENT 'When it happened, as the sender reported it (UTC); it decides the windows of revenue',
    recorded_at DateTime64(3, 'UTC') COMMENT 'When the broker took it',
    kind LowCardinality(String) COMMENT 'Of credits: purchase, bonus, prize, referral, refund or correction. Of revenue: subscription, credit_purchase, one_time or refund. Empty for an adjustment',
    credits Decimal(38, 9) COMMENT 'Credits that the user got; negative when they were taken back; 0 for other entries',
    expires_at Nullable(DateTime64(3, 'UTC')) COMMENT 'First instant at which the credits no longer count; null when they stay',
    note String COMMENT 'Why the credits were given; empty when not given',
    amount_usd Decimal(38, 12) COMMENT 'Revenue in USD, exact; negative for a refund; 0 for other entries',
    currency LowCardinality(String) COMMENT 'Currency in which was paid; empty when not given',
    amount Nullable(Decimal(38, 12)) COMMENT 'What was paid, in currency; null when not given',
    plan LowCardinality(String) COMMENT 'Plan that was paid for; empty when not given',
    reference String COMMENT 'Id of the payment at Stripe; empty when not given',
    org LowCardinality(String) COMMENT 'Organisation, as in usage; empty when not given',
    service LowCardinality(String) COMMENT 'Service of the corrected event; empty when not given',
    provider LowCardinality(String) COMMENT 'Provider of the corrected event; empty when not given',
    model LowCardinality(String) COMMENT 'Model of the corrected event; empty when not given',
    agent LowCardinality(String) COMMENT 'Agent of the corrected event; empty when not given',
    campaign LowCardinality(String) COMMENT 'Campaign of the corrected event; empty when not given',
    feature LowCardinality(String) COMMENT 'Feature of the product that was paid for, or of the corrected event; empty when not given',
    product LowCardinality(String) COMMENT 'Product that was paid for, or of the corrected event; empty when not given',
    event_source LowCardinality(String) COMMENT 'Source of the event that an adjustment corrects; empty for other entries',
    event_id String COMMENT 'Id of the event that an adjustment corrects; empty for other entries',
    event_time Nullable(DateTime64(3, 'UTC')) COMMENT 'Time of the event that an adjustment corrects, which decides its windows; null for other entries',
    cost_usd Decimal(38, 12) COMMENT 'What an adjustment adds to the cost in USD, with its sign; 0 for other entries',
    retail_usd Decimal(38, 12) COMMENT 'What an adjustment adds to the retail value in USD, with its sign; 0 for other entries',
    price_id LowCardinality(String) COMMENT 'The price that an adjustment used; empty for other entries',
    reason String COMMENT 'Why the event was corrected; empty for other entries',
    source_partition Int32 COMMENT 'Partition of the record in the entries topic',
    source_offset Int64 COMMENT 'Offset of the record in its partition',
    ingested_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When this row was written to ClickHouse'
)
ENGINE = ReplacingMergeTree
ORDER BY (user, type, source, id, source_partition, source_offset)
COMMENT 'Storage of the entries topic: a row for each record that is an entry, repeats and refused ones included. Query the view entries instead';

-- The worker counts the first record of an identity, unless it has refused it. What it refused is a dead letter.
CREATE OR REPLACE VIEW entries
(
    type LowCardinality(String) COMMENT 'tollgate.credit.v1, tollgate.revenue.v1 or tollgate.adjustment.v1',
    source LowCardinality(String) COMMENT 'Program that sent the entry; identity together with type, id and user',
    id String COMMENT 'Id of the entry; identity together with type, source and user',
    user String COMMENT 'The user id, a pseudonym that the service chose',
    time DateTime64(3, 'UTC') COMMENT 'When it happened, as the sender reported it (UTC); it decides the windows of revenue',
    recorded_at DateTime64(3, 'UTC') COMMENT 'When the broker took it',
    kind LowCardinality(String) COMMENT 'Of credits: purchase, bonus, prize, referral, refund or correction. Of revenue: subscription, credit_purchase, one_time or refund. Empty for an adjustment',
    credits Decimal(38, 9) COMMENT 'Credits that the user got; negative when they were taken back; 0 for other entries',
    expires_at Nullable(DateTime64(3, 'UTC')) COMMENT 'First instant at which the credits no longer count; null when they stay',
    note String COMMENT 'Why the credits were given; empty when not given',
    amount_usd Decimal(38, 12) COMMENT 'Revenue in USD, exact; negative for a refund; 0 for other entries',
    currency LowCardinality(String) COMMENT 'Currency in which was paid; empty when not given',
    amount Nullable(Decimal(38, 12)) COMMENT 'What was paid, in currency; null when not given',
    plan LowCardinality(String) COMMENT 'Plan that was paid for; empty when not given',
    reference String COMMENT 'Id of the payment at Stripe; empty when not given',
    org LowCardinality(String) COMMENT 'Organisation, as in usage; empty when not given',
    service LowCardinality(String) COMMENT 'Service of the corrected event; empty when not given',
    provider LowCardinality(String) COMMENT 'Provider of the corrected event; empty when not given',
    model LowCardinality(String) COMMENT 'Model of the corrected event; empty when not given',
    agent LowCardinality(String) COMMENT 'Agent of the corrected event; empty when not given',
    campaign LowCardinality(String) COMMENT 'Campaign of the corrected event; empty when not given',
    feature LowCardinality(String) COMMENT 'Feature of the product that was paid for, or of the corrected event; empty when not given',
    product LowCardinality(String) COMMENT 'Product that was paid for, or of the corrected event; empty when not given',
    event_source LowCardinality(String) COMMENT 'Source of the event that an adjustment corrects; empty for other entries',
    event_id String COMMENT 'Id of the event that an adjustment corrects; empty for other entries',
    event_time Nullable(DateTime64(3, 'UTC')) COMMENT 'Time of the event that an adjustment corrects, which decides its windows; null for other entries',
    cost_usd Decimal(38, 12) COMMENT 'What an adjustment adds to the cost in USD, with its sign; 0 for other entries',
    retail_usd Decimal(38, 12) COMMENT 'What an adjustment adds to the retail value in USD, with its sign; 0 for other entries',
    price_id LowCardinality(String) COMMENT 'The price that an adjustment used; empty for other entries',
    reason String COMMENT 'Why the event was corrected; empty for other entries',
    source_partition Int32 COMMENT 'Partition of the record in the entries topic',
    source_offset Int64 COMMENT 'Offset of the record in its partition',
    ingested_at DateTime64(3, 'UTC') COMMENT 'When this row was written to ClickHouse'
)
AS SELECT
    type, source, id, user, time, recorded_at, kind, credits, expires_at, note, amount_usd, currency, amount, plan,
    reference, org, service, provider, model, agent, campaign, feature, product, event_source, event_id,
    event_time, cost_usd, retail_usd, price_id, reason, source_partition, source_offset, ingested_at
FROM (SELECT * FROM entry_records FINAL
      WHERE (source_partition, source_offset) NOT IN (
          SELECT source_partition, source_offset FROM dead_letter_records WHERE endsWith(source_topic, 'entries'))
      ORDER BY source_offset LIMIT 1 BY user, type, source, id)
COMMENT 'Credits, revenue and adjustments: one row per counted entry';

-- A decision that is told again has the time of the first, so that both are one row.
CREATE TABLE IF NOT EXISTS decision_records
(
    reservation_id String COMMENT 'Id of the reservation; identity together with source and user',
    source LowCardinality(String) COMMENT 'Program that asked for the reservation',
    user String COMMENT 'The user id, a pseudonym that the service chose',
    granted Bool COMMENT 'True when the amounts were set aside',
    amount_usd Decimal(38, 12) COMMENT 'USD that were asked for',
    credits Decimal(38, 9) COMMENT 'Credits that were asked for',
    expires_at Nullable(DateTime64(3, 'UTC')) COMMENT 'When the reservation ends by itself; of a denied one: when it would have',
    http_status UInt16 COMMENT 'What a service answers its caller: 402, 429, 503, or 409 for an id that was used before; 0 when granted',
    error LowCardinality(String) COMMENT 'Why it was denied, for example usage_limit_exceeded, insufficient_credits or spending_stopped; empty when granted',
    scope String COMMENT 'Scope of the limit that was in the way; empty when none was',
    budget String COMMENT 'Budget or plan limit that was in the way; empty when none was',
    `limit` Nullable(Decimal(38, 12)) COMMENT 'That limit, in unit; null when none was in the way',
    unit LowCardinality(String) COMMENT 'Unit of the four numbers: usd, events, credits or a usage dimension; empty when none was in the way',
    spent Nullable(Decimal(38, 12)) COMMENT 'What was spent of it; null when none was in the way',
    reserved Nullable(Decimal(38, 12)) COMMENT 'What other reservations held of it; null when none was in the way',
    available Nullable(Decimal(38, 12)) COMMENT 'What was left of it; null when none was in the way',
    until Nullable(DateTime64(3, 'UTC')) COMMENT 'When the limit\'s window ends; null when there is none',
    message String COMMENT 'Why it was denied, in one sentence for people; empty when granted',
    decided_at DateTime64(3, 'UTC') COMMENT 'When the worker decided',
    source_partition Int32 COMMENT 'Partition of the record in the decisions topic, which the requester chose',
    source_offset Int64 COMMENT 'Offset of the record in its partition',
    ingested_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When this row was written to ClickHouse'
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(decided_at)
ORDER BY (user, source, reservation_id, decided_at)
COMMENT 'Storage of decisions; may hold repeats until they are merged. Query the view decisions instead';

CREATE OR REPLACE VIEW decisions
(
    reservation_id String COMMENT 'Id of the reservation; identity together with source and user',
    source LowCardinality(String) COMMENT 'Program that asked for the reservation',
    user String COMMENT 'The user id, a pseudonym that the service chose',
    granted Bool COMMENT 'True when the amounts were set aside',
    amount_usd Decimal(38, 12) COMMENT 'USD that were asked for',
    credits Decimal(38, 9) COMMENT 'Credits that were asked for',
    expires_at Nullable(DateTime64(3, 'UTC')) COMMENT 'When the reservation ends by itself; of a denied one: when it would have',
    http_status UInt16 COMMENT 'What a service answers its caller: 402, 429, 503, or 409 for an id that was used before; 0 when granted',
    error LowCardinality(String) COMMENT 'Why it was denied, for example usage_limit_exceeded, insufficient_credits or spending_stopped; empty when granted',
    scope String COMMENT 'Scope of the limit that was in the way; empty when none was',
    budget String COMMENT 'Budget or plan limit that was in the way; empty when none was',
    `limit` Nullable(Decimal(38, 12)) COMMENT 'That limit, in unit; null when none was in the way',
    unit LowCardinality(String) COMMENT 'Unit of the four numbers: usd, events, credits or a usage dimension; empty when none was in the way',
    spent Nullable(Decimal(38, 12)) COMMENT 'What was spent of it; null when none was in the way',
    reserved Nullable(Decimal(38, 12)) COMMENT 'What other reservations held of it; null when none was in the way',
    available Nullable(Decimal(38, 12)) COMMENT 'What was left of it; null when none was in the way',
    until Nullable(DateTime64(3, 'UTC')) COMMENT 'When the limit\'s window ends; null when there is none',
    message String COMMENT 'Why it was denied, in one sentence for people; empty when granted',
    decided_at DateTime64(3, 'UTC') COMMENT 'When the worker decided',
    source_partition Int32 COMMENT 'Partition of the record in the decisions topic, which the requester chose',
    source_offset Int64 COMMENT 'Offset of the record in its partition',
    ingested_at DateTime64(3, 'UTC') COMMENT 'When this row was written to ClickHouse'
)
AS SELECT
    reservation_id, source, user, granted, amount_usd, credits, expires_at, http_status, error, scope, budget,
    `limit`, unit, spent, reserved, available, until, message, decided_at, source_partition, source_offset,
    ingested_at
FROM decision_records FINAL
COMMENT 'Answers to reservations: what was granted, what was denied and why; one row per decision';

CREATE TABLE IF NOT EXISTS balance_records
(
    user String COMMENT 'The user id, a pseudonym that the service chose',
    available Decimal(38, 9) COMMENT 'Credits that the user can spend now; negative after usage that took more than there was',
    reserved Decimal(38, 9) COMMENT 'Credits that reservations hold',
    granted Decimal(38, 9) COMMENT 'All credits that the user ever got, less what was taken back, with the free ones that were burned and today\'s: burned + expired + available + reserved',
    burned Decimal(38, 9) COMMENT 'All credits that the user ever spent',
    expired Decimal(38, 9) COMMENT 'All credits that expired unspent',
    free_today Decimal(38, 9) COMMENT 'What is left of the free credits of the user\'s own day',
    free_per_day Decimal(38, 9) COMMENT 'Free credits a day by the user\'s plan',
    free_until Nullable(DateTime64(3, 'UTC')) COMMENT 'The user\'s next midnight, at which free credits begin anew; null without free credits',
    buckets Array(Tuple(kind String, left Decimal(38, 9), expires_at Nullable(DateTime64(3, 'UTC')))) COMMENT 'What is left of each grant in the order in which it is burned',
    revision Int64 COMMENT 'Counts the changes of the user\'s balance',
    updated_at DateTime64(3, 'UTC') COMMENT 'When the worker wrote this balance',
    source_partition Int32 COMMENT 'Partition of the record in its Kafka topic',
    source_offset Int64 COMMENT 'Offset of the record in its partition; a higher one is newer for the same key',
    ingested_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When this row was written to ClickHouse'
)
ENGINE = ReplacingMergeTree(source_offset)
ORDER BY user
COMMENT 'Storage of balances; may hold older ones until they are merged. Query the view balances instead';

CREATE OR REPLACE VIEW balances
(
    user String COMMENT 'The user id, a pseudonym that the service chose',
    available Decimal(38, 9) COMMENT 'Credits that the user can spend now; negative after usage that took more than there was',
    reserved Decimal(38, 9) COMMENT 'Credits that reservations hold',
    granted Decimal(38, 9) COMMENT 'All credits that the user ever got, less what was taken back, with the free ones that were burned and today\'s: burned + expired + available + reserved',
    burned Decimal(38, 9) COMMENT 'All credits that the user ever spent',
    expired Decimal(38, 9) COMMENT 'All credits that expired unspent',
    free_today Decimal(38, 9) COMMENT 'What is left of the free credits of the user\'s own day',
    free_per_day Decimal(38, 9) COMMENT 'Free credits a day by the user\'s plan',
    free_until Nullable(DateTime64(3, 'UTC')) COMMENT 'The user\'s next midnight, at which free credits begin anew; null without free credits',
    buckets Array(Tuple(kind String, left Decimal(38, 9), expires_at Nullable(DateTime64(3, 'UTC')))) COMMENT 'What is left of each grant in the order in which it is burned',
    revision Int64 COMMENT 'Counts the changes of the user\'s balance',
    updated_at DateTime64(3, 'UTC') COMMENT 'When the worker wrote this balance',
    source_partition Int32 COMMENT 'Partition of the record in its Kafka topic',
    source_offset Int64 COMMENT 'Offset of the record in its partition; a higher one is newer for the same key',
    ingested_at DateTime64(3, 'UTC') COMMENT 'When this row was written to ClickHouse'
)
AS SELECT
    user, available, reserved, granted, burned, expired, free_today, free_per_day, free_until, buckets, revision,
    updated_at, source_partition, source_offset, ingested_at
FROM balance_records FINAL
COMMENT 'Credits: the latest balance of each user, one row each';

CREATE TABLE IF NOT EXISTS plan_records
(
    id String COMMENT 'Id of the plan',
    name String COMMENT 'The plan\'s name for people',
    description String COMMENT 'What the plan is for',
    price_usd Decimal(38, 12) COMMENT 'What the plan costs a month in USD',
    limits Array(Tuple(feature String, unit String, `limit` Decimal(38, 12), window String)) COMMENT 'Limits of each user of the plan: so many units of a feature in a window; an empty feature means all of them',
    credits_per_day Decimal(38, 9) COMMENT 'Free credits a day, from the user\'s own midnight',
    ends_after LowCardinality(String) COMMENT 'How long after its assignment the plan ends, as an ISO 8601 duration; empty when it does not',
    notice String COMMENT 'What users of the plan are told; empty for nothing',
    updated_at Nullable(DateTime64(3, 'UTC')) COMMENT 'When it was set',
    actor String COMMENT 'Who made the change, for example cli:alice; empty when not known',
    reason String COMMENT 'Why, in the actor\'s words; empty when not given',
    version Int64 DEFAULT 1 COMMENT 'Rises by 1 with every change',
    removed Bool COMMENT 'True when this record removes the plan',
    source_partition Int32 COMMENT 'Partition of the record in its Kafka topic',
    source_offset Int64 COMMENT 'Offset of the record in its partition; a higher one is newer for the same key',
    ingested_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When this row was written to ClickHouse'
)
ENGINE = ReplacingMergeTree
ORDER BY (id, source_partition, source_offset)
COMMENT 'Every version of every plan, removals included; may hold repeats until they are merged';

CREATE OR REPLACE VIEW plans
(
    id String COMMENT 'Id of the plan',
    name String COMMENT 'The plan\'s name for people',
    description String COMMENT 'What the plan is for',
    price_usd Decimal(38, 12) COMMENT 'What the plan costs a month in USD',
    limits Array(Tuple(feature String, unit String, `limit` Decimal(38, 12), window String)) COMMENT 'Limits of each user of the plan: so many units of a feature in a window; an empty feature means all of them',
    credits_per_day Decimal(38, 9) COMMENT 'Free credits a day, from the user\'s own midnight',
    ends_after LowCardinality(String) COMMENT 'How long after its assignment the plan ends, as an ISO 8601 duration; empty when it does not',
    notice String COMMENT 'What users of the plan are told; empty for nothing',
    updated_at Nullable(DateTime64(3, 'UTC')) COMMENT 'When it was set',
    actor String COMMENT 'Who made the change, for example cli:alice; empty when not known',
    reason String COMMENT 'Why, in the actor\'s words; empty when not given',
    version Int64 COMMENT 'Rises by 1 with every change',
    source_partition Int32 COMMENT 'Partition of the record in its Kafka topic',
    source_offset Int64 COMMENT 'Offset of the record in its partition; a higher one is newer for the same key',
    ingested_at DateTime64(3, 'UTC') COMMENT 'When this row was written to ClickHouse'
)
AS SELECT
    id, name, description, price_usd, limits, credits_per_day, ends_after, notice, updated_at, actor, reason,
    version, source_partition, source_offset, ingested_at
FROM (SELECT * FROM plan_records ORDER BY source_offset DESC LIMIT 1 BY id)
WHERE NOT removed
COMMENT 'The plans that were set, one row each';

CREATE TABLE IF NOT EXISTS assignment_records
(
    id String COMMENT 'user/ and the user id, or default',
    user String COMMENT 'The user who has the plan; empty in the row of everyone else, whose id is default',
    plan LowCardinality(String) COMMENT 'Id of the plan',
    since Nullable(DateTime64(3, 'UTC')) COMMENT 'Since when the user has the plan; null when not given',
    timezone LowCardinality(String) DEFAULT 'UTC' COMMENT 'Time zone of the user\'s days and months',
    month_starts_on UInt8 DEFAULT 1 COMMENT 'Day of the month on which the user\'s months begin',
    updated_at Nullable(DateTime64(3, 'UTC')) COMMENT 'When it was set',
    actor String COMMENT 'Who made the change, for example cli:alice; empty when not known',
    reason String COMMENT 'Why, in the actor\'s words; empty when not given',
    version Int64 DEFAULT 1 COMMENT 'Rises by 1 with every change',
    removed Bool COMMENT 'True when this record removes the assignment',
    source_partition Int32 COMMENT 'Partition of the record in its Kafka topic',
    source_offset Int64 COMMENT 'Offset of the record in its partition; a higher one is newer for the same key',
    ingested_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When this row was written to ClickHouse'
)
ENGINE = ReplacingMergeTree
ORDER BY (id, source_partition, source_offset)
COMMENT 'Every assignment of a plan, removals included; may hold repeats until they are merged';

CREATE OR REPLACE VIEW assignments
(
    id String COMMENT 'user/ and the user id, or default',
    user String COMMENT 'The user who has the plan; empty in the row of everyone else, whose id is default',
    plan LowCardinality(String) COMMENT 'Id of the plan',
    since Nullable(DateTime64(3, 'UTC')) COMMENT 'Since when the user has the plan; null when not given',
    timezone LowCardinality(String) COMMENT 'Time zone of the user\'s days and months',
    month_starts_on UInt8 COMMENT 'Day of the month on which the user\'s months begin',
    updated_at Nullable(DateTime64(3, 'UTC')) COMMENT 'When it was set',
    actor String COMMENT 'Who made the change, for example cli:alice; empty when not known',
    reason String COMMENT 'Why, in the actor\'s words; empty when not given',
    version Int64 COMMENT 'Rises by 1 with every change',
    source_partition Int32 COMMENT 'Partition of the record in its Kafka topic',
    source_offset Int64 COMMENT 'Offset of the record in its partition; a higher one is newer for the same key',
    ingested_at DateTime64(3, 'UTC') COMMENT 'When this row was written to ClickHouse'
)
AS SELECT
    id, user, plan, since, timezone, month_starts_on, updated_at, actor, reason, version, source_partition,
    source_offset, ingested_at
FROM (SELECT * FROM assignment_records ORDER BY source_offset DESC LIMIT 1 BY id)
WHERE NOT removed
COMMENT 'Who has which plan, one row each; the row default is the plan of everyone else';

-- What an event burned of its user's credits. It is no part of `usage`, which may be priced again.
ALTER TABLE usage_events
    ADD COLUMN IF NOT EXISTS credits Decimal(38, 9) COMMENT 'Product tokens (credits) that the event burned; 0 for most' AFTER retail_usd;

CREATE OR REPLACE VIEW usage
(
    event_id String COMMENT 'Identity of the usage event together with source',
    source LowCardinality(String) COMMENT 'Program that sent the event; identity together with event_id',
    time DateTime64(3, 'UTC') COMMENT 'When the usage happened, as the service reported it (UTC); it decides hour, day and month',
    kind LowCardinality(String) COMMENT 'usage, or adjustment: a later entry that corrects an earlier cost',
    user String COMMENT 'The user id, a pseudonym that the service chose',
    org LowCardinality(String) COMMENT 'Organisation of the user; empty when not given',
    service LowCardinality(String) COMMENT 'Service that made the call; empty when not given',
    provider LowCardinality(String) COMMENT 'Provider of the paid API, for example openai; empty when not given',
    model LowCardinality(String) COMMENT 'Model or product of the provider, for example gpt-4o; empty when not given',
    agent LowCardinality(String) COMMENT 'Agent that made the call, for example SEO; empty when not given',
    campaign LowCardinality(String) COMMENT 'Campaign the call belongs to; empty when not given',
    feature LowCardinality(String) COMMENT 'Feature of the product, for example chat; empty when not given',
    product LowCardinality(String) COMMENT 'Product the user was using; empty when not given',
    operation LowCardinality(String) COMMENT 'Kind of call, for example chat.completion; empty when not given',
    status LowCardinality(String) COMMENT 'success, error, rate_limited or cancelled; other than success costs 0 unless the provider billed it',
    latency_ms Nullable(UInt32) COMMENT 'Duration of the call in milliseconds; null when not given',
    resource_type LowCardinality(String) COMMENT 'Type of the thing made, for example VIDEO; empty when not given',
    resource_id String COMMENT 'Id of the thing made; empty when not given',
    request_id String COMMENT 'Id of the request at the provider or service; empty when not given',
    usage Map(LowCardinality(String), Decimal(38, 9)) COMMENT 'Amounts by dimension, for example usage[\'input_tokens\']; a dimension not given reads as 0',
    options Map(LowCardinality(String), String) COMMENT 'Options of the call that may decide its price, for example options[\'size\']',
    cost_usd Decimal(38, 12) COMMENT 'Cost in USD: price times usage, exact',
    retail_usd Decimal(38, 12) COMMENT 'What the user was charged in USD, exact; 0 when nothing was',
    credits Decimal(38, 9) COMMENT 'Product tokens (credits) that the event burned; 0 for most',
    price_id LowCardinality(String) COMMENT 'The price that was used, one of the price book or of prices.id; empty when the cost was reported',
    price_status LowCardinality(String) COMMENT 'priced, estimated (the dearest reading of an event that leaves something open), reported (cost came with the event), free, unpriced (price unknown, an estimate stands in) or corrected',
    source_partition Int32 COMMENT 'Partition of the event in the usage topic',
    source_offset Int64 COMMENT 'Offset of the event in its partition of the usage topic',
    version Int64 COMMENT 'Version of this entry; of equal entries the highest one counts',
    metadata String COMMENT 'Free data of the event, a JSON object',
    ingested_at DateTime64(3, 'UTC') COMMENT 'When this row was written to ClickHouse',
    user_hash UInt128 COMMENT 'SipHash of user with 128 bits: uniqExact(user_hash) counts users exactly, in half the time of uniqExact(user)',
    input_tokens Decimal(38, 9) COMMENT 'Tokens of input, cached ones and those of audio included unless the provider counts them apart; usage[\'input_tokens\'] in a column of its own',
    cached_input_tokens Decimal(38, 9) COMMENT 'Tokens of input that were read from the provider\'s cache; usage[\'cached_input_tokens\'] in a column of its own',
    cache_write_tokens Decimal(38, 9) COMMENT 'Tokens of input that were written to the provider\'s cache; usage[\'cache_write_tokens\'] in a column of its own',
    output_tokens Decimal(38, 9) COMMENT 'Tokens of output, those of reasoning and audio included unless the provider counts them apart; usage[\'output_tokens\'] in a column of its own',
    reasoning_tokens Decimal(38, 9) COMMENT 'Tokens of output that were spent on reasoning; usage[\'reasoning_tokens\'] in a column of its own',
    input_audio_tokens Decimal(38, 9) COMMENT 'Tokens of input that were audio; usage[\'input_audio_tokens\'] in a column of its own',
    output_audio_tokens Decimal(38, 9) COMMENT 'Tokens of output that were audio; usage[\'output_audio_tokens\'] in a column of its own',
    images Decimal(38, 9) COMMENT 'Images made; usage[\'images\'] in a column of its own',
    video_seconds Decimal(38, 9) COMMENT 'Seconds of video made; usage[\'video_seconds\'] in a column of its own',
    audio_seconds Decimal(38, 9) COMMENT 'Seconds of audio; usage[\'audio_seconds\'] in a column of its own',
    characters Decimal(38, 9) COMMENT 'Characters of text, for example those that were spoken; usage[\'characters\'] in a column of its own',
    storage_gb_months Decimal(38, 9) COMMENT 'Gigabytes stored, times months; usage[\'storage_gb_months\'] in a column of its own',
    egress_gb Decimal(38, 9) COMMENT 'Gigabytes sent out; usage[\'egress_gb\'] in a column of its own',
    compute_seconds Decimal(38, 9) COMMENT 'Seconds of computing; usage[\'compute_seconds\'] in a column of its own',
    requests Decimal(38, 9) COMMENT 'Requests made; usage[\'requests\'] in a column of its own'
)
AS SELECT
    event_id, source, time, kind, user, org, service, provider, model, agent, campaign, feature, product,
    operation, status, latency_ms, resource_type, resource_id, request_id, usage, options, cost_usd,
    retail_usd, credits, price_id, price_status, source_partition, source_offset, version, metadata, ingested_at,
    user_hash, input_tokens, cached_input_tokens, cache_write_tokens, output_tokens, reasoning_tokens,
    input_audio_tokens, output_audio_tokens, images, video_seconds, audio_seconds, characters,
    storage_gb_months, egress_gb, compute_seconds, requests
FROM usage_events FINAL
SETTINGS do_not_merge_across_partitions_select_final = 1
COMMENT 'Usage and cost, one row per counted event: start here';

-- Windows of two calendars can have the same kind, zone and start: months from the 30th and from the 31st both begin on
-- 28 February. So the calendar is part of the key. Calendars without a zone of their own are stored as an empty text,
-- which is what rows of earlier releases have.
-- only if: SELECT countIf(name = 'calendar') = 0 FROM system.columns WHERE database = currentDatabase() AND table = 'spend_records'
ALTER TABLE spend_records
    ADD COLUMN calendar LowCardinality(String) COMMENT 'How the windows are cut: hour, day, week, month or lifetime of UTC, or with a time zone and first day, for example month@Asia/Tokyo, week@UTC~sunday, month@UTC~15; empty in the storage for windows of UTC',
    MODIFY ORDER BY (window, window_start, scope, timezone, calendar);

ALTER TABLE spend_records
    ADD COLUMN IF NOT EXISTS reserved_usd Decimal(38, 12) COMMENT 'What open reservations hold of the scope in USD',
    ADD COLUMN IF NOT EXISTS revenue_usd Decimal(38, 12) COMMENT 'Revenue of the scope in the window in USD';

ALTER TABLE spend_records
    COMMENT COLUMN scope 'Whose spend: global, dimension/name such as user/u-42, agent/SEO, service/chat, or a combination such as user/u-42+model/gpt-4o',
    COMMENT COLUMN window 'Kind of the window: hour, day, week, month or lifetime';

CREATE OR REPLACE VIEW spend
(
    scope String COMMENT 'Whose spend: global, dimension/name such as user/u-42, agent/SEO, service/chat, or a combination such as user/u-42+model/gpt-4o',
    window LowCardinality(String) COMMENT 'Kind of the window: hour, day, week, month or lifetime',
    window_start DateTime64(3, 'UTC') COMMENT 'First instant of the window; 1970-01-01 for lifetime',
    window_end DateTime64(3, 'UTC') COMMENT 'First instant after the window; far in the future for lifetime',
    timezone LowCardinality(String) COMMENT 'Time zone whose calendar the window follows',
    spent_usd Decimal(38, 12) COMMENT 'Sum of costs of the scope in the window in USD, as the worker counts it',
    retail_usd Decimal(38, 12) COMMENT 'Sum of what users were charged in USD',
    usage Map(LowCardinality(String), Decimal(38, 9)) COMMENT 'Sums of usage by dimension',
    events Int64 COMMENT 'How many events were counted',
    updated_at DateTime64(3, 'UTC') COMMENT 'When the worker last changed the sum',
    source_partition Int32 COMMENT 'Partition of the record in its Kafka topic',
    source_offset Int64 COMMENT 'Offset of the record in its partition; a higher one is newer for the same key',
    reserved_usd Decimal(38, 12) COMMENT 'What open reservations hold of the scope in USD',
    revenue_usd Decimal(38, 12) COMMENT 'Revenue of the scope in the window in USD',
    calendar LowCardinality(String) COMMENT 'How the windows are cut: hour, day, week, month or lifetime of UTC, or with a time zone and first day, for example month@Asia/Tokyo, week@UTC~sunday, month@UTC~15',
    dimensions LowCardinality(String) COMMENT 'What the scope names: user, model, …, user+model for a combination, or global',
    ingested_at DateTime64(3, 'UTC') COMMENT 'When this row was written to ClickHouse'
)
AS SELECT
    scope, window, window_start, window_end, timezone, spent_usd, retail_usd, usage, events, updated_at,
    source_partition, source_offset, reserved_usd, revenue_usd,
    if(r.calendar = '', r.window, r.calendar) AS calendar,
    if(scope = 'global', scope, arrayStringConcat(extractAll(scope, '(?:^|\\+)(user|org|service|provider|model|agent|campaign|feature|product)/'), '+')) AS dimensions,
    ingested_at
FROM spend_records AS r FINAL
COMMENT 'The worker\'s own sums: one row per scope, calendar and window, the latest';

ALTER TABLE flag_records
    ADD COLUMN IF NOT EXISTS reserved Decimal(38, 12) COMMENT 'What open reservations hold, in unit',
    ADD COLUMN IF NOT EXISTS can_exceed_by Nullable(Decimal(38, 12)) COMMENT 'By how much at most the limit can be exceeded now, in unit; null where nothing is promised',
    ADD COLUMN IF NOT EXISTS `except` Array(String) COMMENT 'Scopes that a block leaves alone, for example provider/groq',
    ADD COLUMN IF NOT EXISTS incomplete Bool COMMENT 'True while what was spent before the budget was set is not counted yet';

ALTER TABLE flag_records
    COMMENT COLUMN scope 'The scope the decision is for, for example user/u-42 or user/u-42+model/gpt-4o',
    COMMENT COLUMN budget 'Id of the budget that decided, or plan/<id>/<feature>/<unit> for a plan limit',
    COMMENT COLUMN window 'Kind of the budget\'s window: hour, day, week, month or lifetime; empty when there is none',
    COMMENT COLUMN unit 'usd, events, credits or a usage dimension';

CREATE OR REPLACE VIEW flags
(
    scope String COMMENT 'The scope the decision is for, for example user/u-42 or user/u-42+model/gpt-4o',
    state LowCardinality(String) COMMENT 'ok, warning, blocked or stopped',
    blocked Bool COMMENT 'True for blocked and stopped',
    action LowCardinality(String) COMMENT 'What services do: alert, downgrade, block or stop; empty for none',
    reason LowCardinality(String) COMMENT 'Why, for example usage_limit_exceeded',
    budget String COMMENT 'Id of the budget that decided, or plan/<id>/<feature>/<unit> for a plan limit',
    window LowCardinality(String) COMMENT 'Kind of the budget\'s window: hour, day, week, month or lifetime; empty when there is none',
    window_start Nullable(DateTime64(3, 'UTC')) COMMENT 'First instant of the window',
    window_end Nullable(DateTime64(3, 'UTC')) COMMENT 'First instant after the window',
    timezone LowCardinality(String) COMMENT 'Time zone whose calendar the window follows',
    `limit` Decimal(38, 12) COMMENT 'The budget\'s limit, in unit',
    unit LowCardinality(String) COMMENT 'usd, events, credits or a usage dimension',
    spent Decimal(38, 12) COMMENT 'What was spent in the window, in unit',
    reserved Decimal(38, 12) COMMENT 'What open reservations hold, in unit',
    can_exceed_by Nullable(Decimal(38, 12)) COMMENT 'By how much at most the limit can be exceeded now, in unit; null where nothing is promised',
    percent Nullable(Decimal(38, 2)) COMMENT 'Spent as a percentage of the limit',
    since Nullable(DateTime64(3, 'UTC')) COMMENT 'Since when the state has held',
    until Nullable(DateTime64(3, 'UTC')) COMMENT 'From this instant on the flag no longer holds',
    note String COMMENT 'Who stopped all spending by hand and why, in one sentence; empty for other flags',
    `except` Array(String) COMMENT 'Scopes that a block leaves alone, for example provider/groq',
    incomplete Bool COMMENT 'True while what was spent before the budget was set is not counted yet',
    revision Int64 COMMENT 'Counts the changes of the scope\'s flag',
    source_partition Int32 COMMENT 'Partition of the record in its Kafka topic',
    source_offset Int64 COMMENT 'Offset of the record in its partition; a higher one is newer for the same key',
    ingested_at DateTime64(3, 'UTC') COMMENT 'When this row was written to ClickHouse'
)
AS SELECT
    scope, state, blocked, action, reason, budget, window, window_start, window_end, timezone, `limit`, unit,
    spent, reserved, can_exceed_by, percent, since, until, note, `except`, incomplete, revision, source_partition,
    source_offset, ingested_at
FROM flag_records FINAL
COMMENT 'Every revision of every flag: the history of warnings and blocks';

CREATE OR REPLACE VIEW flags_current
(
    scope String COMMENT 'The scope the decision is for, for example user/u-42 or user/u-42+model/gpt-4o',
    state LowCardinality(String) COMMENT 'ok, warning, blocked or stopped',
    blocked Bool COMMENT 'True for blocked and stopped',
    action LowCardinality(String) COMMENT 'What services do: alert, downgrade, block or stop; empty for none',
    reason LowCardinality(String) COMMENT 'Why, for example usage_limit_exceeded',
    budget String COMMENT 'Id of the budget that decided, or plan/<id>/<feature>/<unit> for a plan limit',
    window LowCardinality(String) COMMENT 'Kind of the budget\'s window: hour, day, week, month or lifetime; empty when there is none',
    window_start Nullable(DateTime64(3, 'UTC')) COMMENT 'First instant of the window',
    window_end Nullable(DateTime64(3, 'UTC')) COMMENT 'First instant after the window',
    timezone LowCardinality(String) COMMENT 'Time zone whose calendar the window follows',
    `limit` Decimal(38, 12) COMMENT 'The budget\'s limit, in unit',
    unit LowCardinality(String) COMMENT 'usd, events, credits or a usage dimension',
    spent Decimal(38, 12) COMMENT 'What was spent in the window, in unit',
    reserved Decimal(38, 12) COMMENT 'What open reservations hold, in unit',
    can_exceed_by Nullable(Decimal(38, 12)) COMMENT 'By how much at most the limit can be exceeded now, in unit; null where nothing is promised',
    percent Nullable(Decimal(38, 2)) COMMENT 'Spent as a percentage of the limit',
    since Nullable(DateTime64(3, 'UTC')) COMMENT 'Since when the state has held',
    until Nullable(DateTime64(3, 'UTC')) COMMENT 'From this instant on the flag no longer holds',
    note String COMMENT 'Who stopped all spending by hand and why, in one sentence; empty for other flags',
    `except` Array(String) COMMENT 'Scopes that a block leaves alone, for example provider/groq',
    incomplete Bool COMMENT 'True while what was spent before the budget was set is not counted yet',
    revision Int64 COMMENT 'Counts the changes of the scope\'s flag',
    source_partition Int32 COMMENT 'Partition of the record in its Kafka topic',
    source_offset Int64 COMMENT 'Offset of the record in its partition; a higher one is newer for the same key',
    ingested_at DateTime64(3, 'UTC') COMMENT 'When this row was written to ClickHouse',
    in_force Bool COMMENT 'True while the state is not ok and until has not passed'
)
AS SELECT
    scope, state, blocked, action, reason, budget, window, window_start, window_end, timezone, `limit`, unit,
    spent, reserved, can_exceed_by, percent, since, until, note, `except`, incomplete, revision, source_partition,
    source_offset, ingested_at,
    state != 'ok' AND (until IS NULL OR until > now64(3)) AS in_force
FROM (SELECT * FROM flag_records ORDER BY source_offset DESC LIMIT 1 BY scope)
COMMENT 'The latest flag of each scope';

ALTER TABLE budget_records
    ADD COLUMN IF NOT EXISTS week_starts_on LowCardinality(String) DEFAULT 'monday' COMMENT 'First day of the budget\'s weeks: monday to sunday',
    ADD COLUMN IF NOT EXISTS month_starts_on UInt8 DEFAULT 1 COMMENT 'Day on which the budget\'s months begin, 1 to 31; the last day where a month is shorter',
    ADD COLUMN IF NOT EXISTS valid_from Nullable(DateTime64(3, 'UTC')) COMMENT 'First instant at which the budget holds; null when it is open',
    ADD COLUMN IF NOT EXISTS valid_to Nullable(DateTime64(3, 'UTC')) COMMENT 'First instant at which it no longer holds; null when it is open',
    ADD COLUMN IF NOT EXISTS fail LowCardinality(String) DEFAULT 'open' COMMENT 'What services do when they know nothing: open or closed',
    ADD COLUMN IF NOT EXISTS `except` Array(String) COMMENT 'Scopes that a block leaves alone, for example provider/groq',
    ADD COLUMN IF NOT EXISTS owner String COMMENT 'Who is responsible for the budget; empty when not given',
    ADD COLUMN IF NOT EXISTS note String COMMENT 'What the budget is for; empty when not given';

ALTER TABLE budget_records
    COMMENT COLUMN scope 'Whose spend is limited: global, dimension/name, a combination such as user/u-42+model/gpt-4o, or a pattern such as user/* or user/*+feature/video',
    COMMENT COLUMN unit 'usd, events, credits or a usage dimension',
    COMMENT COLUMN window 'hour, day, week, month or lifetime';

CREATE OR REPLACE VIEW budgets
(
    id String COMMENT 'Id of the budget',
    scope String COMMENT 'Whose spend is limited: global, dimension/name, a combination such as user/u-42+model/gpt-4o, or a pattern such as user/* or user/*+feature/video',
    `limit` Decimal(38, 12) COMMENT 'The limit, in unit',
    unit LowCardinality(String) COMMENT 'usd, events, credits or a usage dimension',
    window LowCardinality(String) COMMENT 'hour, day, week, month or lifetime',
    timezone LowCardinality(String) COMMENT 'Time zone whose calendar the window follows',
    week_starts_on LowCardinality(String) COMMENT 'First day of the budget\'s weeks: monday to sunday',
    month_starts_on UInt8 COMMENT 'Day on which the budget\'s months begin, 1 to 31; the last day where a month is shorter',
    warning_percent Nullable(Decimal(38, 2)) COMMENT 'Percentage of the limit at which the level warning begins; null when it is not set',
    warning_action LowCardinality(String) COMMENT 'What happens at the level warning: alert, downgrade, block or stop',
    critical_percent Nullable(Decimal(38, 2)) COMMENT 'Percentage of the limit at which the level critical begins; null when it is not set',
    critical_action LowCardinality(String) COMMENT 'What happens at the level critical: alert, downgrade, block or stop',
    emergency_percent Nullable(Decimal(38, 2)) COMMENT 'Percentage of the limit at which the level emergency begins; null when it is not set',
    emergency_action LowCardinality(String) COMMENT 'What happens at the level emergency: alert, downgrade, block or stop',
    valid_from Nullable(DateTime64(3, 'UTC')) COMMENT 'First instant at which the budget holds; null when it is open',
    valid_to Nullable(DateTime64(3, 'UTC')) COMMENT 'First instant at which it no longer holds; null when it is open',
    fail LowCardinality(String) COMMENT 'What services do when they know nothing: open or closed',
    `except` Array(String) COMMENT 'Scopes that a block leaves alone, for example provider/groq',
    owner String COMMENT 'Who is responsible for the budget; empty when not given',
    note String COMMENT 'What the budget is for; empty when not given',
    updated_at Nullable(DateTime64(3, 'UTC')) COMMENT 'When the budget was set',
    actor String COMMENT 'Who made the change, for example cli:alice; empty when not known',
    reason String COMMENT 'Why, in the actor\'s words; empty when not given',
    version Int64 COMMENT 'Rises by 1 with every change; 1 where a record of an early release has none',
    source_partition Int32 COMMENT 'Partition of the record in its Kafka topic',
    source_offset Int64 COMMENT 'Offset of the record in its partition; a higher one is newer for the same key',
    ingested_at DateTime64(3, 'UTC') COMMENT 'When this row was written to ClickHouse'
)
AS SELECT
    id, scope, `limit`, unit, window, timezone, week_starts_on, month_starts_on, warning_percent, warning_action,
    critical_percent, critical_action, emergency_percent, emergency_action, valid_from, valid_to, fail, `except`,
    owner, note, updated_at, actor, reason, version, source_partition, source_offset, ingested_at
FROM (SELECT * FROM budget_records ORDER BY source_offset DESC LIMIT 1 BY id)
WHERE NOT removed
COMMENT 'The budgets in force, one row each';

ALTER TABLE alert_records
    COMMENT COLUMN window 'Kind of the budget\'s window: hour, day, week, month or lifetime; empty when there is none',
    COMMENT COLUMN unit 'usd, events, credits or a usage dimension';

ALTER TABLE alerts
    COMMENT COLUMN window 'Kind of the budget\'s window: hour, day, week, month or lifetime; empty when there is none',
    COMMENT COLUMN unit 'usd, events, credits or a usage dimension';

ALTER TABLE alerts_current
    COMMENT COLUMN window 'Kind of the budget\'s window: hour, day, week, month or lifetime; empty when there is none',
    COMMENT COLUMN unit 'usd, events, credits or a usage dimension';

ALTER TABLE audit_records COMMENT COLUMN kind 'What was changed: budget, price, plan, assignment, token, setting; or entry, for credits that a person granted';

ALTER TABLE audit COMMENT COLUMN kind 'What was changed: budget, price, plan, assignment, token, setting; or entry, for credits that a person granted';
