namespace Capsul.Play;

/// <summary>What goes wrong, by switch or drawn from a seed. Nothing by default.</summary>
public sealed class PlayFaults
{
    readonly Lock gate = new();
    Random random = new(1);
    int calls;

    /// <summary>Nothing is answered: connections are closed before anything is done.</summary>
    public bool IsDown { get; set; }

    /// <summary>The call is carried out, and then answered with 500.</summary>
    public bool FailsAfterActing { get; set; }

    /// <summary>The call is carried out, and then the connection is closed without an answer.</summary>
    public bool LosesAnswers { get; set; }

    /// <summary>So many calls are answered, and the answers of those after them are lost; null: none.</summary>
    public int? LoseAfter { get; set; }

    /// <summary>Shares of calls whose answers are lost after they were carried out, 0 to 1.</summary>
    public double LostAnswers { get; set; }

    /// <summary>Shares of events that are sent twice, and that are never sent.</summary>
    public double RepeatedEvents { get; set; }

    public double LostEvents { get; set; }

    /// <summary>
    /// Share of events whose answer comes after the time-out: the Hub has taken them, and they are sent again.
    /// </summary>
    public double LateEventAnswers { get; set; }

    /// <summary>Events are sent in an order that has nothing to do with what happened.</summary>
    public bool ShufflesEvents { get; set; }

    /// <summary>Completes when calls may be answered; for a provider that is slow.</summary>
    public Task Slowly { get; set; } = Task.CompletedTask;

    /// <summary>Calls so far.</summary>
    public int Calls => calls;

    public void Seed(int seed)
    {
        lock (gate) random = new Random(seed);
    }

    public bool Draw(double share)
    {
        lock (gate) return share > 0 && random.NextDouble() < share;
    }

    public void Shuffle<T>(T[] list)
    {
        lock (gate) random.Shuffle(list);
    }

    /// <summary>True: the connection was closed.</summary>
    public async Task<bool> BeforeAsync(HttpContext context)
    {
        Interlocked.Increment(ref calls);
        await Slowly.WaitAsync(context.RequestAborted);
        if (!IsDown) return false;
        context.Abort();
        return true;
    }

    /// <summary>True: it was answered otherwise, or not at all.</summary>
    public async Task<bool> AfterAsync(HttpContext context)
    {
        if (LosesAnswers || Draw(LostAnswers) || LoseAfter-- <= 0)
        {
            context.Abort();
            return true;
        }
        if (!FailsAfterActing) return false;
        context.Response.StatusCode = StatusCodes.Status500InternalServerError;
        await context.Response.WriteAsJsonAsync(
            PlayError.Json("api_error", "Sorry, something went wrong on our side."), context.RequestAborted);
        return true;
    }
}
