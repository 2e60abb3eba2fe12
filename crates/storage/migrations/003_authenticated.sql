-- When the person had signed in: what grows under an approval carries it on (`auth_time`, RFC 9068 section 2.2.1). What is
-- there already does not know; a later sign-in of the same person must not vouch for it.
ALTER TABLE codes ADD COLUMN authenticated INTEGER;
ALTER TABLE families ADD COLUMN authenticated INTEGER;
ALTER TABLE device_authorizations ADD COLUMN authenticated INTEGER;
