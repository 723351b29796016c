// Loads the page again, or goes on to another, after some seconds: what a refresh does without scripts.
const script = document.querySelector("script[data-next]");
setTimeout(() => location.replace(script.dataset.next), Number(script.dataset.seconds) * 1000);
