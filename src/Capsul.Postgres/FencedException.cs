namespace Capsul.Postgres;

/// <summary>
/// Somebody else has taken over what this process was doing; everything that was being written is rolled back.
/// </summary>
public class FencedException(string message) : Exception(message);
