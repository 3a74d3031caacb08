import { redisForTests } from '../redis-for-tests.ts';
import { sequencesOf } from './sequences.ts';

const server = redisForTests({ emptied: 'once' });

sequencesOf(
  server,
  {
    name: 'queued',
    queued: true,
    sequences: 24,
    most: 3,
    stories: { 'a life': 2, 'an off': 2, 'a grant': 1, 'an edit': 1, 'a crash': 1 },
    weights: {
      propose: 8,
      click: 8,
      'deliver again': 1,
      withdraw: 1,
      edit: 1,
      attempt: 6,
      'end the call': 2,
      'time is over': 2,
      sweep: 2,
      off: 1,
      on: 2,
      'forget scripts': 1,
      restart: 2,
      befall: 3,
    },
    reaches: { runs: 2, 'decision.approve': 5 },
  },
  '[approval:single-use] [execution:at-most-once] through the real queue, while connections break and workers stop: nothing runs twice',
);
