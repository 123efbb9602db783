// What the page can say of a run without progress: that there is one.
export function show(run, place) {
  place.append(`Export ${run.id} was started.`);
}
