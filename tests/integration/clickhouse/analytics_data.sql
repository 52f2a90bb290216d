-- The example behind the answers in docs/analytics.md: nine events of two months, small enough to add up by hand.
-- Two of them are written twice, as a sink that was killed would do.
INSERT INTO usage_events
    (event_id, source, time, kind, user, service, provider, model, agent, campaign, status, usage, cost_usd, retail_usd,
     price_id, price_status, source_offset, version)
VALUES
    ('e1', 'chat-api', '2026-10-05 10:00:00', 'usage', 'u-1', 'chat', 'openai', 'gpt-4o', 'SEO', 'autumn', 'success',
     {'input_tokens': 1000000, 'cached_input_tokens': 400000, 'output_tokens': 100000}, 3, 5, 'p1', 'priced', 1, 1),
    ('e2', 'img-api', '2026-10-20 10:00:00', 'usage', 'u-2', 'images', 'openai', 'dall-e-3', 'DESIGN', 'autumn', 'success',
     {'images': 10}, 0.4, 1, 'p2', 'priced', 2, 1),
    ('e3', 'chat-api', '2026-11-02 10:00:00', 'usage', 'u-1', 'chat', 'openai', 'gpt-4o', 'SEO', 'holiday', 'success',
     {'input_tokens': 2000000, 'cached_input_tokens': 500000, 'output_tokens': 200000}, 6.5, 10, 'p1', 'priced', 3, 1),
    ('e4', 'video-api', '2026-11-03 10:00:00', 'usage', 'u-1', 'video', 'runway', 'gen-3-alpha-turbo', '', 'holiday',
     'success', {'video_seconds': 20}, 1, 2, 'p3', 'priced', 4, 1),
    ('e5', 'img-api', '2026-11-04 10:00:00', 'usage', 'u-2', 'images', 'openai', 'dall-e-3', 'DESIGN', 'holiday', 'success',
     {'images': 5}, 0.2, 0.5, 'p2', 'priced', 5, 1),
    ('e6', 'chat-api', '2026-11-10 10:00:00', 'usage', 'u-3', 'chat', 'openai', 'gpt-9', '', '', 'success',
     {'input_tokens': 100000, 'output_tokens': 10000}, 2, 3, 'p4', 'unpriced', 6, 1),
    ('e7', 'chat-api', '2026-11-11 10:00:00', 'usage', 'u-2', 'chat', 'openai', 'gpt-4o', '', '', 'error',
     {}, 0, 0, 'p1', 'priced', 7, 1),
    ('e8', 'chat-api', '2026-11-12 10:00:00', 'usage', 'u-1', 'chat', 'openai', 'gpt-4o', 'SEO', '', 'rate_limited',
     {'input_tokens': 500000}, 0.1, 0, 'p1', 'priced', 8, 1),
    ('e9', 'tts-api', '2026-11-21 10:00:00', 'usage', 'u-4', 'speech', 'elevenlabs', 'tts', '', '', 'success',
     {'characters': 1000}, 0.3, 0, 'p5', 'priced', 9, 1);

INSERT INTO usage_events SELECT * FROM usage_events WHERE event_id IN ('e3', 'e5');

INSERT INTO spend_records
    (scope, window, window_start, window_end, timezone, spent_usd, events, updated_at, source_offset)
VALUES
    ('global', 'month', '2026-10-01 00:00:00', '2026-11-01 00:00:00', 'UTC', 3.4, 2, '2026-10-20 10:00:00', 1),
    ('global', 'month', '2026-11-01 00:00:00', '2026-12-01 00:00:00', 'UTC', 9.8, 6, '2026-11-12 10:00:00', 2),
    ('user/u-1', 'month', '2026-10-01 00:00:00', '2026-11-01 00:00:00', 'UTC', 3, 1, '2026-10-05 10:00:00', 1),
    ('user/u-2', 'month', '2026-10-01 00:00:00', '2026-11-01 00:00:00', 'UTC', 0.4, 1, '2026-10-20 10:00:00', 2),
    ('user/u-1', 'month', '2026-11-01 00:00:00', '2026-12-01 00:00:00', 'UTC', 7.6, 3, '2026-11-12 10:00:00', 3),
    ('user/u-2', 'month', '2026-11-01 00:00:00', '2026-12-01 00:00:00', 'UTC', 0.2, 2, '2026-11-11 10:00:00', 4),
    ('user/u-3', 'month', '2026-11-01 00:00:00', '2026-12-01 00:00:00', 'UTC', 2, 1, '2026-11-10 10:00:00', 5),
    ('user/u-4', 'month', '2026-11-01 00:00:00', '2026-12-01 00:00:00', 'UTC', 0.3, 1, '2026-11-21 10:00:00', 6);

INSERT INTO spend_records
    (scope, window, window_start, window_end, timezone, spent_usd, events, updated_at, source_offset)
VALUES
    ('global', 'month', '2026-11-01 00:00:00', '2026-12-01 00:00:00', 'UTC', 10.1, 7, '2026-11-21 10:00:00', 7);

INSERT INTO budget_records
    (id, scope, `limit`, unit, window, timezone, warning_percent, critical_percent, critical_action, removed, source_offset)
VALUES
    ('user/*:month:usd', 'user/*', 4, 'usd', 'month', 'UTC', 80, 100, 'block', false, 1),
    ('user/*:month:usd', 'user/*', 5, 'usd', 'month', 'UTC', 80, 100, 'block', false, 2),
    ('user/u-3:month:usd', 'user/u-3', 4, 'usd', 'month', 'UTC', 80, 100, 'block', false, 3),
    ('user/*+model/gpt-4o:month:usd', 'user/*+model/gpt-4o', 8, 'usd', 'month', 'Asia/Tokyo', 80, 100, 'block', false, 9);

INSERT INTO flag_records
    (scope, state, blocked, action, reason, budget, window, window_start, window_end, timezone, `limit`, unit, spent,
     percent, since, until, revision, source_offset)
VALUES
    ('user/u-1', 'blocked', true, 'block', 'usage_limit_exceeded', 'user/*:month:usd', 'month', '2026-11-01 00:00:00',
     '2026-12-01 00:00:00', 'UTC', 5, 'usd', 6.5, 130, '2026-11-02 10:00:01', '2026-12-01 00:00:00', 1, 1),
    ('user/u-1', 'blocked', true, 'block', 'usage_limit_exceeded', 'user/*:month:usd', 'month', '2026-11-01 00:00:00',
     '2026-12-01 00:00:00', 'UTC', 5, 'usd', 7.6, 152, '2026-11-02 10:00:01', '2026-12-01 00:00:00', 2, 2);

INSERT INTO dead_letter_records
    (time, reason, error, source_topic, source_partition, source_offset, key, value, dead_letter_offset)
VALUES
    ('2026-11-05 10:00:00', 'negative_usage', 'data.usage.images: must not be negative', 'tollgate.usage', 2, 7, 'u-2', '{}', 0),
    ('2026-11-06 10:00:00', 'negative_usage', 'data.usage.images: must not be negative', 'tollgate.usage', 2, 9, 'u-2', '{}', 1),
    ('2026-11-07 10:00:00', 'not_json', 'not JSON', 'tollgate.usage', 3, 1, 'u-5', 'hello', 2);

INSERT INTO audit_records
    (id, time, actor, action, key, kind, before, after, reason, version, source_offset)
VALUES
    ('1', '2026-11-01 09:00:00', 'cli:alice', 'set', 'budget/user/*:month:usd', 'budget', '', '{"limit": "4"}', 'launch', 1, 0),
    ('2', '2026-11-02 08:30:00', 'bob', 'set', 'budget/user/*:month:usd', 'budget', '{"limit": "4"}', '{"limit": "5"}', 'holidays', 2, 2),
    ('3', '2026-11-02 08:40:00', 'bob', 'set', 'budget/user/u-3:month:usd', 'budget', '{"limit": "6"}', '{"limit": "4"}', 'unpriced model', 2, 4),
    ('4', '2026-11-03 10:00:00', 'cli:alice', 'set', 'token/0123456789abcdef', 'token', '', '{"role": "viewer"}', 'grafana', 1, 6),
    ('5', '2026-11-09 10:00:00', 'cli:alice', 'remove', 'token/0123456789abcdef', 'token', '{"role": "viewer"}', '', 'leaked', 2, 8);

INSERT INTO audit_records SELECT * FROM audit_records WHERE id = '2';

-- Credits, reservations and plans of the same users.
INSERT INTO entry_records
    (type, source, id, user, time, recorded_at, kind, credits, expires_at, note, amount_usd, plan, currency, amount,
     reference, product, source_offset)
VALUES
    ('tollgate.credit.v1', 'console', 'c1', 'u-1', '2026-11-01 09:00:00', '2026-11-01 09:00:01', 'purchase', 100, NULL, '', 0, '', '', NULL, '', '', 0),
    ('tollgate.credit.v1', 'console', 'c2', 'u-1', '2026-11-02 09:00:00', '2026-11-02 09:00:01', 'bonus', 20, '2026-12-01 00:00:00', 'sorry for the outage', 0, '', '', NULL, '', '', 1),
    ('tollgate.credit.v1', 'console', 'c2', 'u-1', '2026-11-02 09:00:00', '2026-11-02 09:00:02', 'bonus', 20, '2026-12-01 00:00:00', 'sorry for the outage', 0, '', '', NULL, '', '', 2),
    ('tollgate.credit.v1', 'cli', 'c3', 'u-2', '2026-11-03 09:00:00', '2026-11-03 09:00:01', 'referral', 5, NULL, '', 0, '', '', NULL, '', '', 3),
    ('tollgate.credit.v1', 'cli', 'c4', 'u-1', '2026-11-05 09:00:00', '2026-11-05 09:00:01', 'correction', -10, NULL, 'granted twice', 0, '', '', NULL, '', '', 4),
    ('tollgate.revenue.v1', 'stripe', 'in_1', 'u-1', '2026-11-01 08:00:00', '2026-11-01 08:00:01', 'subscription', 0, NULL, '', 9, 'creator', 'USD', 9, 'in_1', 'web', 5),
    ('tollgate.revenue.v1', 'stripe', 'in_2', 'u-1', '2026-11-01 09:00:00', '2026-11-01 09:00:01', 'credit_purchase', 0, NULL, '', 5.4, '', 'EUR', 5, 'in_2', 'web', 6),
    ('tollgate.revenue.v1', 'stripe', 're_1', 'u-1', '2026-11-06 09:00:00', '2026-11-06 09:00:01', 'refund', 0, NULL, '', -5.4, '', 'EUR', -5, 're_1', 'web', 7);

INSERT INTO decision_records
    (reservation_id, source, user, granted, amount_usd, credits, expires_at, http_status, error, scope, budget, `limit`,
     unit, spent, reserved, available, until, message, decided_at, source_offset)
VALUES
    ('r1', 'chat-api', 'u-1', true, 0.1, 0, '2026-11-10 10:01:00', 0, '', '', '', NULL, '', NULL, NULL, NULL, NULL, '', '2026-11-10 10:00:00', 1),
    ('r1', 'chat-api', 'u-1', true, 0.1, 0, '2026-11-10 10:01:00', 0, '', '', '', NULL, '', NULL, NULL, NULL, NULL, '', '2026-11-10 10:00:00', 2),
    ('r2', 'chat-api', 'u-1', false, 0.5, 0, '2026-11-10 10:01:00', 429, 'usage_limit_exceeded', 'user/u-1', 'user/*:month:usd', 5, 'usd', 4.6, 0.1, 0.3, '2026-12-01 00:00:00', 'wait', '2026-11-10 10:00:01', 3),
    ('r3', 'video-api', 'u-2', false, 0, 8, '2026-11-11 10:01:00', 402, 'insufficient_credits', '', '', NULL, 'credits', NULL, NULL, 5, NULL, 'buy more', '2026-11-11 10:00:00', 4),
    ('r4', 'chat-api', 'u-1', false, 0.4, 0, '2026-11-10 10:02:00', 429, 'usage_limit_exceeded', 'user/u-1', 'user/*:month:usd', 5, 'usd', 4.7, 0, 0.3, '2026-12-01 00:00:00', 'wait', '2026-11-10 10:01:00', 5);

INSERT INTO balance_records
    (user, available, reserved, granted, burned, expired, free_today, free_per_day, free_until, buckets, revision, updated_at, source_offset)
VALUES
    ('u-1', 100, 0, 110, 10, 0, 0, 0, NULL, [('purchase', 100, NULL)], 1, '2026-11-02 10:00:00', 1),
    ('u-1', 82, 8, 110, 20, 0, 0, 0, NULL, [('bonus', 10, '2026-12-01 00:00:00'), ('purchase', 80, NULL)], 2, '2026-11-20 10:00:00', 2),
    ('u-2', -3, 0, 5, 8, 0, 0, 0, NULL, [], 4, '2026-11-11 10:00:05', 3);

INSERT INTO plan_records
    (id, name, price_usd, limits, credits_per_day, removed, actor, version, source_offset)
VALUES
    ('free', 'Free', 0, [('video', 'events', 5, 'month'), ('chat', 'events', 50, 'month')], 10, false, 'cli:alice', 1, 20),
    ('free', 'Free', 0, [('video', 'events', 10, 'month'), ('chat', 'events', 100, 'month'), ('chat', 'events', 20, 'day'), ('', 'events', 200, 'month')], 10, false, 'cli:alice', 2, 21),
    ('creator', 'Creator', 9, [('video', 'events', 100, 'month')], 10, false, 'cli:alice', 1, 22);

INSERT INTO assignment_records
    (id, user, plan, since, timezone, month_starts_on, removed, actor, updated_at, version, source_offset)
VALUES
    ('default', '', 'free', NULL, 'UTC', 1, false, 'cli:alice', '2026-10-01 09:00:00', 1, 23),
    ('user/u-1', 'u-1', 'free', '2026-10-05 09:00:00', 'Asia/Tokyo', 1, false, 'cli:alice', '2026-10-05 09:00:00', 1, 24),
    ('user/u-1', 'u-1', 'creator', '2026-11-01 09:00:00', 'Asia/Tokyo', 15, false, 'bob', '2026-11-01 09:00:00', 2, 25),
    ('user/u-3', 'u-3', 'creator', '2026-11-02 09:00:00', 'UTC', 1, true, 'bob', '2026-11-03 09:00:00', 2, 26);

INSERT INTO spend_records
    (scope, window, window_start, window_end, timezone, calendar, spent_usd, reserved_usd, events, updated_at, source_offset)
VALUES
    ('user/u-1', 'month', '2026-10-31 15:00:00', '2026-11-30 15:00:00', 'Asia/Tokyo', 'month@Asia/Tokyo', 7.6, 0, 3, '2026-11-12 10:00:00', 30),
    ('user/u-1+model/gpt-4o', 'month', '2026-10-31 15:00:00', '2026-11-30 15:00:00', 'Asia/Tokyo', 'month@Asia/Tokyo', 6.6, 0.1, 2, '2026-11-12 10:00:00', 31),
    ('user/u-1+model/gpt-4o', 'week', '2026-11-08 00:00:00', '2026-11-15 00:00:00', 'UTC', 'week@UTC~sunday', 0.1, 0, 1, '2026-11-12 10:00:00', 32),
    ('user/u-2+model/dall-e-3', 'month', '2026-10-31 15:00:00', '2026-11-30 15:00:00', 'Asia/Tokyo', 'month@Asia/Tokyo', 0.2, 0, 1, '2026-11-04 10:00:00', 33);

INSERT INTO flag_records
    (scope, state, blocked, action, reason, budget, window, window_start, window_end, timezone, `limit`, unit, spent,
     reserved, can_exceed_by, percent, since, until, `except`, incomplete, revision, source_offset)
VALUES
    ('user/u-1+model/gpt-4o', 'warning', false, 'alert', 'threshold_reached', 'user/*+model/gpt-4o:month:usd', 'month',
     '2026-10-31 15:00:00', '2026-11-30 15:00:00', 'Asia/Tokyo', 8, 'usd', 6.6, 0.1, 0, 82.5, '2026-11-02 10:00:01',
     '2026-11-30 15:00:00', ['provider/groq'], false, 1, 40),
    ('user/u-2+model/dall-e-3', 'ok', false, '', 'within_budget', 'user/*+model/dall-e-3:month:usd', 'month',
     '2026-10-31 15:00:00', '2026-11-30 15:00:00', 'Asia/Tokyo', 8, 'usd', 0.2, 0, NULL, 2.5, '2026-11-04 10:00:01',
     NULL, [], true, 1, 41);
