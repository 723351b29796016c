[assembly: AssemblyFixture(typeof(Capsul.Tests.Support.RunEnd))]

namespace Capsul.Tests.Support;

/// <summary>What to clean up after the whole run, newest first.</summary>
public sealed class RunEnd : IAsyncLifetime
{
    static readonly Stack<Func<Task>> Work = new();

    public static void Do(Func<Task> work)
    {
        lock (Work) Work.Push(work);
    }

    public ValueTask InitializeAsync() => ValueTask.CompletedTask;

    public async ValueTask DisposeAsync()
    {
        while (true)
        {
            Func<Task>? work;
            lock (Work)
            {
                if (!Work.TryPop(out work)) return;
            }
            await work();
        }
    }
}
