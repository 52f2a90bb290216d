-- Columns of their own for the common dimensions of `usage`, and a number for each user.
-- A query of one dimension read the whole map, which is half of a row's bytes that compress badly. The columns are
-- computed from the row by the server, so that a sink of any release fills them, nobody can write anything else into
-- them, and a repeat has what its original has. Rows that are there answer right from the first moment, computed as they
-- are read, and fast once the background has written the columns down.

ALTER TABLE usage_events
    ADD COLUMN IF NOT EXISTS user_hash UInt128 MATERIALIZED reinterpretAsUInt128(sipHash128(user)) COMMENT 'SipHash of user with 128 bits: uniqExact(user_hash) counts users exactly, in half the time of uniqExact(user)',
    ADD COLUMN IF NOT EXISTS input_tokens Decimal(38, 9) MATERIALIZED usage['input_tokens'] COMMENT 'Tokens of input, cached ones and those of audio included unless the provider counts them apart; usage[\'input_tokens\'] in a column of its own',
    ADD COLUMN IF NOT EXISTS cached_input_tokens Decimal(38, 9) MATERIALIZED usage['cached_input_tokens'] COMMENT 'Tokens of input that were read from the provider\'s cache; usage[\'cached_input_tokens\'] in a column of its own',
    ADD COLUMN IF NOT EXISTS cache_write_tokens Decimal(38, 9) MATERIALIZED usage['cache_write_tokens'] COMMENT 'Tokens of input that were written to the provider\'s cache; usage[\'cache_write_tokens\'] in a column of its own',
    ADD COLUMN IF NOT EXISTS output_tokens Decimal(38, 9) MATERIALIZED usage['output_tokens'] COMMENT 'Tokens of output, those of reasoning and audio included unless the provider counts them apart; usage[\'output_tokens\'] in a column of its own',
    ADD COLUMN IF NOT EXISTS reasoning_tokens Decimal(38, 9) MATERIALIZED usage['reasoning_tokens'] COMMENT 'Tokens of output that were spent on reasoning; usage[\'reasoning_tokens\'] in a column of its own',
    ADD COLUMN IF NOT EXISTS input_audio_tokens Decimal(38, 9) MATERIALIZED usage['input_audio_tokens'] COMMENT 'Tokens of input that were audio; usage[\'input_audio_tokens\'] in a column of its own',
    ADD COLUMN IF NOT EXISTS output_audio_tokens Decimal(38, 9) MATERIALIZED usage['output_audio_tokens'] COMMENT 'Tokens of output that were audio; usage[\'output_audio_tokens\'] in a column of its own',
    ADD COLUMN IF NOT EXISTS images Decimal(38, 9) MATERIALIZED usage['images'] COMMENT 'Images made; usage[\'images\'] in a column of its own',
    ADD COLUMN IF NOT EXISTS video_seconds Decimal(38, 9) MATERIALIZED usage['video_seconds'] COMMENT 'Seconds of video made; usage[\'video_seconds\'] in a column of its own',
    ADD COLUMN IF NOT EXISTS audio_seconds Decimal(38, 9) MATERIALIZED usage['audio_seconds'] COMMENT 'Seconds of audio; usage[\'audio_seconds\'] in a column of its own',
    ADD COLUMN IF NOT EXISTS characters Decimal(38, 9) MATERIALIZED usage['characters'] COMMENT 'Characters of text, for example those that were spoken; usage[\'characters\'] in a column of its own',
    ADD COLUMN IF NOT EXISTS storage_gb_months Decimal(38, 9) MATERIALIZED usage['storage_gb_months'] COMMENT 'Gigabytes stored, times months; usage[\'storage_gb_months\'] in a column of its own',
    ADD COLUMN IF NOT EXISTS egress_gb Decimal(38, 9) MATERIALIZED usage['egress_gb'] COMMENT 'Gigabytes sent out; usage[\'egress_gb\'] in a column of its own',
    ADD COLUMN IF NOT EXISTS compute_seconds Decimal(38, 9) MATERIALIZED usage['compute_seconds'] COMMENT 'Seconds of computing; usage[\'compute_seconds\'] in a column of its own',
    ADD COLUMN IF NOT EXISTS requests Decimal(38, 9) MATERIALIZED usage['requests'] COMMENT 'Requests made; usage[\'requests\'] in a column of its own';

-- The server does it after its answer, also when it is started anew. Once is enough.
-- only if: SELECT (SELECT count() FROM system.parts WHERE active AND database = currentDatabase() AND table = 'usage_events') > (SELECT countIf(column = 'requests') FROM system.parts_columns WHERE active AND database = currentDatabase() AND table = 'usage_events')
ALTER TABLE usage_events
    MATERIALIZE COLUMN user_hash,
    MATERIALIZE COLUMN input_tokens,
    MATERIALIZE COLUMN cached_input_tokens,
    MATERIALIZE COLUMN cache_write_tokens,
    MATERIALIZE COLUMN output_tokens,
    MATERIALIZE COLUMN reasoning_tokens,
    MATERIALIZE COLUMN input_audio_tokens,
    MATERIALIZE COLUMN output_audio_tokens,
    MATERIALIZE COLUMN images,
    MATERIALIZE COLUMN video_seconds,
    MATERIALIZE COLUMN audio_seconds,
    MATERIALIZE COLUMN characters,
    MATERIALIZE COLUMN storage_gb_months,
    MATERIALIZE COLUMN egress_gb,
    MATERIALIZE COLUMN compute_seconds,
    MATERIALIZE COLUMN requests
SETTINGS mutations_sync = 0;

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
    price_id LowCardinality(String) COMMENT 'The price that was used, one of the price book or of prices.id; empty when the cost was reported',
    price_status LowCardinality(String) COMMENT 'priced, reported (cost came with the event), free, unpriced (price unknown, an estimate stands in) or corrected',
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
    retail_usd, price_id, price_status, source_partition, source_offset, version, metadata, ingested_at,
    user_hash, input_tokens, cached_input_tokens, cache_write_tokens, output_tokens, reasoning_tokens,
    input_audio_tokens, output_audio_tokens, images, video_seconds, audio_seconds, characters,
    storage_gb_months, egress_gb, compute_seconds, requests
FROM usage_events FINAL
SETTINGS do_not_merge_across_partitions_select_final = 1
COMMENT 'Usage and cost, one row per counted event: start here';
