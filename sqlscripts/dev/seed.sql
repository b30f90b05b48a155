-- Demo data for development: tenants demo and other, and their users, all with one password.
--
-- The server runs this when it starts in development. A stored password depends on the server's keys, so it is handed
-- over as a session setting; by hand, as a member of rowcall_platform or as a superuser:
--
--     SET seed.pwd = '#02#…';
--     \i seed.sql

INSERT INTO tenant (slug, name)
VALUES ('demo', 'Demo'), ('other', 'Other')
ON CONFLICT (slug) DO NOTHING;

INSERT INTO account (username, name, pwd)
SELECT v.username, v.name, current_setting('seed.pwd')
FROM (VALUES ('demo1', 'Demo One'), ('demo2', 'Demo Two'), ('admin', 'Demo Admin'), ('other1', 'Other One')) AS v (username, name)
WHERE NOT EXISTS (SELECT FROM account a WHERE a.username = v.username);

INSERT INTO membership (tenant_id, user_id, role, cid, mid)
SELECT t.id, a.id, v.role, a.id, a.id
FROM (VALUES ('demo', 'demo1', 'member'), ('demo', 'demo2', 'member'), ('demo', 'admin', 'admin'), ('other', 'other1', 'member'))
    AS v (slug, username, role)
JOIN tenant t ON t.slug = v.slug
JOIN account a ON a.username = v.username
ON CONFLICT DO NOTHING;
