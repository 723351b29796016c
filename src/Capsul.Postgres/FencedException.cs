namespace Capsul.Postgres;

/// <summary>
/// Another process has taken over this one's work; everything that was being written is rolled back.
/// </summary>
public class FencedException(string message) : Exception(message);
