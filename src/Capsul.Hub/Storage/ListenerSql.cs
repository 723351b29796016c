namespace Capsul.Hub.Storage;

static class ListenerSql
{
    public const string Listen = """
        -- ListenerSql.Listen
        LISTEN capsul_operations; LISTEN capsul_hosts; LISTEN capsul_vms; LISTEN capsul_accounts; LISTEN capsul_mails;
        LISTEN capsul_payments; LISTEN capsul_passed_on
        """;

    public const string PassOn = """
        -- ListenerSql.PassOn
        SELECT pg_notify('capsul_passed_on', payload) FROM unnest(@payloads::text[]) AS p (payload)
        """;
}
