import { defineImageStore } from '../../image-store.ts'
import { cinderStoreOptions } from './options.ts'
import { CinderProjects } from './projects.ts'
import { CinderStore } from './store.ts'

export default defineImageStore({
  type: 'cinder',
  schemes: ['cinder'],
  options: cinderStoreOptions,
  create(settings, place) {
    return new CinderStore(
      new CinderProjects(settings, place),
      {
        attach: {
          initiatorName: place.initiatorName,
          multipath: settings.useMultipath,
          attempts: settings.attachmentAttempts,
        },
        transitionMs: settings.transitionSeconds * 1000,
        volumeType: settings.volumeType,
        extendAttached: settings.extendAttached,
        bootableFormats: settings.bootableFormats.map((each) => each.replaceAll(/^['"‘’]|['"‘’]$/g, '')),
      },
      place.multiStore ? place.name : undefined,
    )
  },
  occupies: ({ endpointTemplate, catalogInfo, region, project, volumeType }) =>
    [endpointTemplate ?? catalogInfo, region, project, volumeType ?? 'default volume type']
      .filter((part) => part !== undefined)
      .join(', '),
})
