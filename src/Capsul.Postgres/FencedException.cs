namespace Capsul.Postgres;

/// <summary>Another process has taken over this one's work; the transaction is rolled back.</summary>
public class FencedException(string message) : Exception(message);
